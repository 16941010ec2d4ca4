package registrar

import "time"

// Patient returns the configuration of a registrar that waits for a dead leader's
// successor for as long as no test does: what is started before, was not held
// back.
func Patient(cfg Config) Config {
	cfg.patience = patience{election: time.Hour, checkpoint: time.Hour}
	return cfg
}
