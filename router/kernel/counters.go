package kernel

import (
	"encoding/binary"
	"fmt"
	"maps"

	"github.com/google/nftables"
)

// Counters are what a port has carried since its table was made. Bytes are those
// of whole IP packets.
type Counters struct {
	// Opened is the number of connections that were led.
	Opened                         uint64
	SentPackets, SentBytes         uint64 // by clients
	ReceivedPackets, ReceivedBytes uint64 // by clients, from leaders
	// Open is the number of connections that have not ended.
	Open int
}

// Counters returns those of every port that the kernel has led.
func (p *Plane) Counters() (map[uint16]Counters, error) {
	all, err := p.countLed()
	if err != nil {
		return nil, err
	}
	return all, p.countOpen(all)
}

// countLed returns what the tables have counted.
func (p *Plane) countLed() (map[uint16]Counters, error) {
	all := map[uint16]Counters{}
	p.asking.Lock()
	defer p.asking.Unlock()
	for _, t := range p.tables {
		if err := t.count(p.asker, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// countOpen adds the flows that are tracked.
func (p *Plane) countOpen(all map[uint16]Counters) error {
	open, err := p.teller.open()
	for port, c := range all {
		c.Open = open[port]
		all[port] = c
	}
	return err
}

// Opened returns Counters.Opened of every port, which costs less than the rest.
func (p *Plane) Opened() (map[uint16]uint64, error) {
	all := map[uint16]uint64{}
	p.asking.Lock()
	defer p.asking.Unlock()
	for _, t := range p.tables {
		err := countSet(p.asker, t.opened, func(port uint16, packets, _ uint64) { all[port] += packets })
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Open returns Counters.Open of every port that has any and has not been told to be
// cut. It costs a walk through all that this host's kernel tracks.
func (p *Plane) Open() (map[uint16]int, error) {
	open, err := p.teller.open()
	maps.DeleteFunc(open, func(port uint16, _ int) bool { return p.ending.has(port) })
	return open, err
}

// Tracked returns how many flows of any kind this host's kernel tracks, and how
// many it can. At its limit a host takes no new connections, led or not.
func Tracked() (entries, limit int, err error) {
	if entries, err = readNumber("/proc/sys/net/netfilter/nf_conntrack_count"); err != nil {
		return 0, 0, err
	}
	limit, err = readNumber("/proc/sys/net/netfilter/nf_conntrack_max")
	return entries, limit, err
}

// count adds what a table has counted.
func (t *table) count(c *nftables.Conn, all map[uint16]Counters) error {
	for _, part := range []struct {
		set *nftables.Set
		add func(c *Counters, packets, bytes uint64)
	}{
		{t.opened, func(c *Counters, packets, _ uint64) { c.Opened += packets }},
		{t.sent, func(c *Counters, packets, bytes uint64) { c.SentPackets += packets; c.SentBytes += bytes }},
		{t.received, func(c *Counters, packets, bytes uint64) { c.ReceivedPackets += packets; c.ReceivedBytes += bytes }},
	} {
		err := countSet(c, part.set, func(port uint16, packets, bytes uint64) {
			sum := all[port]
			part.add(&sum, packets, bytes)
			all[port] = sum
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// countSet gives add what each port of a set has counted.
func countSet(c *nftables.Conn, s *nftables.Set, add func(port uint16, packets, bytes uint64)) error {
	elements, err := c.GetSetElements(s)
	if err != nil {
		return fmt.Errorf("reading counters: %w", err)
	}
	for _, e := range elements {
		if e.Counter != nil && len(e.Key) >= 2 {
			add(binary.BigEndian.Uint16(e.Key), e.Counter.Packets, e.Counter.Bytes)
		}
	}
	return nil
}
