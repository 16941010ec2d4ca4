package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
)

// chunk is how many elements one message carries, so that it fits the socket.
const chunk = 1000

// socketBuffer holds a chunk for every set, and the answers.
const socketBuffer = 4 << 20

// leads says which port leads where.
type leads map[uint16]netip.AddrPort

// dialNftables returns a connection that stays: opening one takes longer than
// using it.
func dialNftables() (*nftables.Conn, error) {
	return nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		// More than net.core allows is not given, and not needed for fewer ports.
		return errors.Join(c.SetReadBuffer(socketBuffer), c.SetWriteBuffer(socketBuffer))
	}))
}

// edit is a number of changes to a table that become true together, but for
// those that are too many for one message.
type edit struct {
	conn  *nftables.Conn
	table *table
}

// lead makes ports lead somewhere.
func (e edit) lead(to leads) error {
	elements := make([]nftables.SetElement, 0, len(to))
	for _, port := range slices.Sorted(maps.Keys(to)) {
		elements = append(elements, nftables.SetElement{Key: key(port), Val: value(to[port])})
	}
	return e.each(elements, func(some []nftables.SetElement) error { return e.conn.SetAddElements(e.table.leaders, some) })
}

// stop takes away what lead has made.
func (e edit) stop(led leads) error {
	elements := make([]nftables.SetElement, 0, len(led))
	for port, addr := range led {
		elements = append(elements, nftables.SetElement{Key: key(port), Val: value(addr)})
	}
	return e.each(elements, func(some []nftables.SetElement) error { return e.conn.SetDeleteElements(e.table.leaders, some) })
}

// serve makes the addresses of leaders known.
func (e edit) serve(to leads) error {
	return e.each(servers(to), func(some []nftables.SetElement) error { return e.conn.SetAddElements(e.table.servers, some) })
}

// dismiss is the reverse of serve, for addresses that need not be known.
func (e edit) dismiss(of leads) error {
	return e.each(servers(of), func(some []nftables.SetElement) error {
		return errors.Join(e.conn.SetAddElements(e.table.servers, some), e.conn.SetDeleteElements(e.table.servers, some))
	})
}

func servers(of leads) []nftables.SetElement {
	once := map[netip.AddrPort]struct{}{}
	var elements []nftables.SetElement
	for _, addr := range of {
		if _, ok := once[addr]; !ok {
			once[addr] = struct{}{}
			elements = append(elements, nftables.SetElement{Key: value(addr)})
		}
	}
	return elements
}

// put puts ports into a set, in which they may be.
func (e edit) put(s *nftables.Set, ports []uint16) error {
	return e.each(keys(ports), func(some []nftables.SetElement) error { return e.conn.SetAddElements(s, some) })
}

// remove takes ports out of a set, in which they need not be.
func (e edit) remove(s *nftables.Set, ports []uint16) error {
	return e.each(keys(ports), func(some []nftables.SetElement) error {
		return errors.Join(e.conn.SetAddElements(s, some), e.conn.SetDeleteElements(s, some))
	})
}

func (e edit) each(elements []nftables.SetElement, do func([]nftables.SetElement) error) error {
	for some := range slices.Chunk(elements, chunk) {
		if err := do(some); err != nil {
			return err
		}
		if len(elements) > chunk {
			if err := e.conn.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func keys(ports []uint16) []nftables.SetElement {
	elements := make([]nftables.SetElement, 0, len(ports))
	for _, port := range ports {
		elements = append(elements, nftables.SetElement{Key: key(port)})
	}
	return elements
}

// led reads where ports lead.
func (t *table) led(c *nftables.Conn) (leads, error) {
	elements, err := c.GetSetElements(t.leaders)
	if err != nil {
		return nil, fmt.Errorf("reading where ports lead: %w", err)
	}
	all := make(leads, len(elements))
	for _, e := range elements {
		if addr, ok := t.parseValue(e.Val); ok && len(e.Key) >= 2 {
			all[binary.BigEndian.Uint16(e.Key)] = addr
		}
	}
	return all, nil
}

// members reads which ports are in a set.
func members(c *nftables.Conn, s *nftables.Set) ([]uint16, error) {
	elements, err := c.GetSetElements(s)
	if err != nil {
		return nil, fmt.Errorf("reading set %s: %w", s.Name, err)
	}
	var ports []uint16
	for _, e := range elements {
		if len(e.Key) >= 2 {
			ports = append(ports, binary.BigEndian.Uint16(e.Key))
		}
	}
	return ports, nil
}
