package patroni

// DefaultParameter returns the value of a PostgreSQL setting that every cluster
// is made with, nil if that is left to PostgreSQL.
func DefaultParameter(name string) any {
	return NewDynamicConfig(false).PostgreSQL.Parameters[name]
}

// OwnsParameter reports whether nodes need a PostgreSQL setting to be what they
// made it: Patroni's doings, secrets in logs and the container's memory hang on
// it.
func OwnsParameter(name string) bool {
	_, own := memoryParameters(1)[name]
	switch name {
	case "listen_addresses", "port", "cluster_name", "unix_socket_directories", "synchronous_standby_names",
		"primary_conninfo", "primary_slot_name", "recovery_min_apply_delay":
		own = true
	}
	return own || DefaultParameter(name) != nil
}

// ConfigPatch returns what makes PatchConfig turn a cluster into one that is
// synchronous or not, and has these PostgreSQL settings; those that are nil get
// back what every cluster is made with.
func ConfigPatch(synchronous bool, parameters map[string]*string) map[string]any {
	fresh := NewDynamicConfig(synchronous)
	changed := map[string]any{}
	for name, value := range parameters {
		if value != nil {
			changed[name] = *value
		} else {
			changed[name] = DefaultParameter(name)
		}
	}
	return map[string]any{
		"synchronous_mode":      fresh.SynchronousMode,
		"primary_start_timeout": fresh.PrimaryStartTimeout,
		"postgresql":            map[string]any{"parameters": changed},
	}
}
