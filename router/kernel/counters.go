package kernel

import (
	"encoding/binary"
	"fmt"

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
	all := map[uint16]Counters{}
	p.asking.Lock()
	defer p.asking.Unlock()
	for _, t := range p.tables {
		if err := t.count(p.asker, all); err != nil {
			return nil, err
		}
	}
	return all, p.countOpen(all)
}

// countOpen adds the flows that are tracked.
func (p *Plane) countOpen(all map[uint16]Counters) error {
	_, err := p.askTracker.led(families, func(f flow) bool {
		if c, known := all[f.port()]; known && f.state() >= established && f.state() < timeWait {
			c.Open++
			all[f.port()] = c
		}
		return false
	})
	return err
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
		elements, err := c.GetSetElements(part.set)
		if err != nil {
			return fmt.Errorf("reading counters: %w", err)
		}
		for _, e := range elements {
			if e.Counter == nil || len(e.Key) < 2 {
				continue
			}
			port := binary.BigEndian.Uint16(e.Key)
			sum := all[port]
			part.add(&sum, e.Counter.Packets, e.Counter.Bytes)
			all[port] = sum
		}
	}
	return nil
}
