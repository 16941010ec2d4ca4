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
	var list []KnownBackend
	for b := range registered.All() {
		k, _ := BackendOf(registered, hosts, b.Params[0])
		list = append(list, k)
	}
	for h := range hosts.All() {
		if _, there := registered.Get(h.Params[0]); !there {
			k, _ := BackendOf(registered, hosts, h.Params[0])
			list = append(list, k)
		}
	}
	slices.SortFunc(list, func(a, b KnownBackend) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// BackendOf returns the line of one backend in the list that Backends makes.
func BackendOf(registered *Table[Backend], hosts *Table[Host], id string) (KnownBackend, bool) {
	host, known := hosts.Get(id)
	k := KnownBackend{Host: host.Value, Status: BackendUnreachable}
	b, there := registered.Get(id)
	if !there {
		return k, known
	}
	k.Backend, k.Status = b.Value, BackendDegraded
	if b.Value.Healthy() {
		k.Status = BackendHealthy
	}
	return k, true
}
