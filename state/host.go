package state

import (
	"slices"
	"strings"
	"time"
)

// Host is what is kept of a backend for good: how it was when it was last seen.
// Its registrar notes it about once a minute, and when it ends.
type Host struct {
	Backend
	LastSeen time.Time `json:"last_seen"`
}

// BackendStatus says whether a backend can be used.
type BackendStatus string

// The statuses of backends.
const (
	BackendHealthy BackendStatus = "healthy"
	// BackendDegraded is a host whose registrar runs, and which can be given no
	// nodes: its Docker does not answer, or its disk is full.
	BackendDegraded BackendStatus = "degraded"
	// BackendUnreachable is a host whose registrar fell silent.
	BackendUnreachable BackendStatus = "unreachable"
)

// KnownBackend is one line of the list of backends.
type KnownBackend struct {
	Host
	Status BackendStatus `json:"status"`
}

// Backends joins the backends that are registered with those that were, by id:
// who went silent is in the list, as he was when he was last seen. It reads
// tables of BackendPattern and HostPattern, where these may be read.
func Backends(registered *Table[Backend], hosts *Table[Host]) []KnownBackend {
	known := map[string]KnownBackend{}
	for h := range hosts.All() {
		known[h.Params[0]] = KnownBackend{Host: h.Value, Status: BackendUnreachable}
	}
	for b := range registered.All() {
		k := known[b.Params[0]]
		k.Backend, k.Status = b.Value, BackendDegraded
		if b.Value.Healthy() {
			k.Status = BackendHealthy
		}
		known[b.Params[0]] = k
	}
	var list []KnownBackend
	for _, k := range known {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b KnownBackend) int { return strings.Compare(a.ID, b.ID) })
	return list
}
