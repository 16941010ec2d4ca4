package registrar

import (
	"os"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// self is what of a backend's entry stays while its registrar runs.
func (c Config) self() state.Backend {
	return state.Backend{
		ID: c.ID, Hostname: c.Hostname, Address: c.Backend.String(), Zone: c.Zone, Region: c.Region,
		URL: c.URL, Labels: c.Labels,
		PID: os.Getpid(), Since: time.Now().UTC(),
	}
}

// condition is what of a backend's entry changes while its registrar runs.
type condition struct {
	docker string
	measure
	full bool
}

// of returns the backend in this condition.
func (c condition) of(b state.Backend) state.Backend {
	b.DockerVersion, b.Capacity, b.Use, b.Full = c.docker, c.capacity, c.use, c.full
	return b
}

func conditionOf(b state.Backend) condition {
	return condition{docker: b.DockerVersion, measure: measure{capacity: b.Capacity, use: b.Use}, full: b.Full}
}

// condition returns how the host is now.
func (r *Registrar) condition() condition {
	m, full := r.meter.last()
	return condition{docker: r.inventory.dockerVersion(), measure: m, full: full}
}
