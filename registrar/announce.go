package registrar

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/pgpatron/pgpatron/state"
)

// announced decodes an announcement. A value that is no address is a wrong one
// and is put right like any other.
func announced(b []byte) (netip.AddrPort, error) {
	addr, _ := netip.ParseAddrPort(string(b))
	return addr, nil
}

// announcement is one internal port of one node's container.
type announcement struct {
	node     string
	internal int
}

// param is the announcement's parameter in the table.
func (r *Registrar) param(a announcement) string {
	return state.AnnouncementParam(r.cfg.Hostname, containerName(a.node), a.internal)
}

func (r *Registrar) announcementKey(a announcement) string {
	return state.AnnouncementKey(r.cfg.Image, r.cfg.Hostname, containerName(a.node), a.internal)
}

// parseAnnouncement reads the parameter of an announcement of this host.
func (r *Registrar) parseAnnouncement(param string) (a announcement, ok bool) {
	rest, here := strings.CutPrefix(param, r.cfg.Hostname+":")
	name, port, _ := strings.Cut(rest, ":")
	a.node, ok = strings.CutPrefix(name, containerName(""))
	a.internal, _ = strconv.Atoi(port)
	return a, here && ok && a.node != "" && r.param(a) == param
}

// announce returns what makes the announcements of this host exactly those of
// the containers that run on it. Keys of other hosts are none of its business,
// nor is a node of another backend that goes by the same host name.
func (r *Registrar) announce(t state.Tick, docker snapshot) []state.Group {
	if !docker.loaded {
		return nil // nobody knows yet what runs
	}
	var groups []state.Group
	wanted := map[announcement]struct{}{}
	for node, c := range docker.running {
		for internal, addr := range c.addrs {
			a := announcement{node, internal}
			wanted[a] = struct{}{}
			if have, ok := r.tables.announcements.Get(r.param(a)); !ok || have.Value != addr || have.Lease != t.Lease {
				groups = append(groups, r.putAnnouncement(a, addr))
			}
		}
	}
	for a := range r.known {
		if _, ok := wanted[a]; !ok && !r.placedElsewhere(a.node) {
			groups = append(groups, r.dropAnnouncement(a))
		}
	}
	return groups
}

func (r *Registrar) putAnnouncement(a announcement, addr netip.AddrPort) state.Group {
	return state.Group{Name: "announce " + r.param(a), Apply: func(tx *state.Tx) error {
		tx.PutLeased(r.announcementKey(a), []byte(addr.String()))
		return nil
	}}
}

func (r *Registrar) dropAnnouncement(a announcement) state.Group {
	return state.Group{Name: "withdraw " + r.param(a), Apply: func(tx *state.Tx) error {
		tx.Delete(r.announcementKey(a))
		return nil
	}}
}

// placedElsewhere reports whether a record places the node on another backend.
func (r *Registrar) placedElsewhere(node string) bool {
	for c := range r.tables.clusters.All() {
		if n, ok := c.Value.Node(node); ok && n.BackendID != r.backend {
			return true
		}
	}
	return false
}
