package kernel

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
)

// ledger is what Run knows of the ports.
type ledger struct {
	// led is where the kernel leads new connections, wanted where it should.
	led, wanted leads
	// last is where a port was led last: there its flows go.
	last leads
	// known are the ports that the tables know and that may have flows.
	known map[uint16]struct{}
	// cutting are those whose flows are being ended.
	cutting map[uint16]struct{}
	// frozen are those that have been cut and are still frozen in the kernel, with
	// where they led.
	frozen leads
	// pending are those that are not led where they should be.
	pending map[uint16]struct{}
	// adopted are those that an earlier process led and nobody has told of. Once
	// settled, there can be none.
	adopted map[uint16]struct{}
	settled bool
}

func newLedger() ledger {
	return ledger{
		led: leads{}, wanted: leads{}, last: leads{}, frozen: leads{},
		known: map[uint16]struct{}{}, cutting: map[uint16]struct{}{}, pending: map[uint16]struct{}{},
		adopted: map[uint16]struct{}{},
	}
}

// note takes an order in.
func (l *ledger) note(port uint16, o order) {
	delete(l.adopted, port)
	_, known := l.known[port]
	last := l.last[port]
	if o.adopt && l.led[port] != o.leader {
		o = order{cut: true}
	}
	if known && (o.cut || o.leader.IsValid() && last.IsValid() && last != o.leader) {
		l.cutting[port] = struct{}{}
	}
	delete(l.wanted, port)
	delete(l.pending, port)
	if o.leader.IsValid() {
		l.wanted[port] = o.leader
		if l.led[port] != o.leader {
			l.pending[port] = struct{}{}
		}
	}
}

// misled returns which of some ports the kernel must not lead where it does.
func (l *ledger) misled(of iter.Seq[uint16]) leads {
	out := leads{}
	for port := range of {
		addr, led := l.led[port]
		_, cutting := l.cutting[port]
		_, adopted := l.adopted[port]
		if led && (cutting || !adopted && l.wanted[port] != addr) {
			out[port] = addr
		}
	}
	return out
}

// isCut reports whether a flow is to be ended.
func (l *ledger) isCut(f flow) bool {
	_, cut := l.cutting[f.port()]
	return cut
}

// cuttingFamilies are those of which there may be flows to be ended.
func (l *ledger) cuttingFamilies() []*family {
	of := map[*family]bool{}
	for port := range l.cutting {
		last, known := l.last[port]
		if !known {
			return families
		}
		of[familyOf(last.Addr())] = true
	}
	return slices.Collect(maps.Keys(of))
}

// retired returns the leaders of ports that have been cut to which no other port
// leads.
func (l *ledger) retired() leads {
	if len(l.frozen) == 0 {
		return nil
	}
	serving := map[netip.AddrPort]struct{}{}
	for _, addr := range l.last {
		serving[addr] = struct{}{}
	}
	out := leads{}
	for port, addr := range l.frozen {
		if _, ok := serving[addr]; !ok && addr.IsValid() {
			out[port] = addr
		}
	}
	return out
}

// disown has the flows of every port cut that nobody has told of.
func (l *ledger) disown() {
	for port := range l.adopted {
		l.cutting[port] = struct{}{}
	}
	clear(l.adopted)
	l.settled = true
}

// recover takes in that led may be another than before, by somebody else's doing.
func (l *ledger) recover(before leads) {
	for port, addr := range l.led {
		if before[port] == addr || l.wanted[port] == addr {
			continue
		}
		l.last[port], l.known[port] = addr, struct{}{}
		if l.settled {
			l.cutting[port] = struct{}{}
		} else {
			l.adopted[port] = struct{}{}
		}
	}
	for port, addr := range l.wanted {
		if l.led[port] != addr {
			l.pending[port] = struct{}{}
		}
	}
}

// strayed reports whether a flow goes elsewhere than its port.
func (l *ledger) strayed(f flow) bool {
	_, known := l.known[f.port()]
	_, adopted := l.adopted[f.port()]
	return known && !adopted && f.leader() != l.last[f.port()]
}

func ports(set map[uint16]struct{}) []uint16 { return slices.Sorted(maps.Keys(set)) }
