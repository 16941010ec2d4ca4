package state

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrNoPort says that every public port is taken.
var ErrNoPort = errors.New("no public port left")

// Ports is the range of public ports, both ends included.
type Ports struct {
	First, Last int
}

// ParsePorts reads a range such as "30000-30999".
func ParsePorts(s string) (Ports, error) {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		return Ports{}, fmt.Errorf("ports %q: want FIRST-LAST", s)
	}
	a, errA := strconv.Atoi(first)
	b, errB := strconv.Atoi(last)
	if errA != nil || errB != nil || a < 1 || b > 65535 || a > b {
		return Ports{}, fmt.Errorf("ports %q: want FIRST-LAST, both from 1 to 65535, FIRST not above LAST", s)
	}
	return Ports{First: a, Last: b}, nil
}

func (p Ports) String() string { return fmt.Sprintf("%d-%d", p.First, p.Last) }

// Contains reports whether port is in the range.
func (p Ports) Contains(port int) bool { return p.First <= port && port <= p.Last }

// Allocate gives the instance id a public port, inside the caller's group: the
// same one again if it has one. Ports are handed out upwards; a port that is
// held or reserved is skipped; those that came free are used again only when
// the end of the range has been reached, the lowest first.
func (p Ports) Allocate(tx *Tx, id string) (int, error) {
	return p.allocate(tx, AllocationKey(id), id)
}

// AllocateReadOnly gives the instance id a public port for its replicas, as
// Allocate does for its leader.
func (p Ports) AllocateReadOnly(tx *Tx, id string) (int, error) {
	return p.allocate(tx, ReadOnlyKey(id), id)
}

// allocate gives id a port and notes it at key.
func (p Ports) allocate(tx *Tx, key, id string) (int, error) {
	port, ok, err := Load(tx, key, Integer)
	if err != nil || ok {
		return port, err
	}
	next, err := p.next(tx)
	if err != nil {
		return 0, err
	}
	port = p.free(tx, next, p.Last)
	if port == 0 {
		port = p.free(tx, p.First, min(next-1, p.Last))
	}
	if port == 0 {
		return 0, fmt.Errorf("%w in %v", ErrNoPort, p)
	}
	tx.Get(PortKey(port))
	tx.Put(NextPortKey(), strconv.AppendInt(nil, int64(max(next, port+1)), 10))
	tx.Put(key, strconv.AppendInt(nil, int64(port), 10))
	tx.Put(PortKey(port), []byte(id))
	return port, nil
}

// next reads where to look first. A lost or unreadable /routing/nextport is
// rebuilt from the highest port that is taken.
func (p Ports) next(tx *Tx) (int, error) {
	next, ok, err := Load(tx, NextPortKey(), Integer)
	if ok && err == nil && next > 0 {
		return max(next, p.First), nil
	}
	for port := p.Last; port >= p.First; port-- {
		if _, taken := tx.Peek(PortKey(port)); taken {
			return port + 1, nil
		}
	}
	return p.First, nil
}

// free returns the lowest port from first to last that nobody holds, or 0.
func (p Ports) free(tx *Tx, first, last int) int {
	for port := first; port <= last; port++ {
		if _, taken := tx.Peek(PortKey(port)); !taken {
			return port
		}
	}
	return 0
}

// Release takes the public ports of instance id back, inside the caller's group.
func (p Ports) Release(tx *Tx, id string) error {
	return errors.Join(release(tx, AllocationKey(id), id), release(tx, ReadOnlyKey(id), id))
}

// ReleaseReadOnly takes the public port of the instance's replicas back.
func (p Ports) ReleaseReadOnly(tx *Tx, id string) error { return release(tx, ReadOnlyKey(id), id) }

func release(tx *Tx, key, id string) error {
	port, ok, err := Load(tx, key, Integer)
	if err != nil || !ok {
		return err
	}
	tx.Delete(key)
	if holder, ok := tx.Get(PortKey(port)); ok && string(holder.Value) == id {
		tx.Delete(PortKey(port))
	}
	return nil
}

// Replace reserves the port that instance id holds, because a router found
// something else there, and gives it another. Only an instance whose port
// nobody has been told may be given another.
func (p Ports) Replace(tx *Tx, id, why string) (int, error) {
	port, ok, err := Load(tx, AllocationKey(id), Integer)
	if err != nil {
		return 0, err
	}
	if ok {
		tx.Delete(AllocationKey(id))
		tx.Put(PortKey(port), []byte("reserved: "+why))
	}
	return p.Allocate(tx, id)
}
