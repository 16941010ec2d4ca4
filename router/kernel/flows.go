package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// flow is a connection that the kernel has led to a leader.
type flow struct{ conntrack.Flow }

// States of a flow in which there may be a client to tell that it is over. In
// those before, a SYN of ours would be taken for the answer that it waits for.
const (
	established = 3
	lastACK     = 6
	timeWait    = 7
	closed      = 8 // by a reset, which only one side may have got
)

// port is the public port that the client asked for.
func (f flow) port() uint16 { return f.TupleOrig.Proto.DestinationPort }

// The four ends of a flow: the client and what it asked for, the leader and the
// address at which it sees the client.
func (f flow) client() netip.AddrPort {
	return netip.AddrPortFrom(f.TupleOrig.IP.SourceAddress.Unmap(), f.TupleOrig.Proto.SourcePort)
}

func (f flow) asked() netip.AddrPort {
	return netip.AddrPortFrom(f.TupleOrig.IP.DestinationAddress.Unmap(), f.TupleOrig.Proto.DestinationPort)
}

func (f flow) leader() netip.AddrPort {
	return netip.AddrPortFrom(f.TupleReply.IP.SourceAddress.Unmap(), f.TupleReply.Proto.SourcePort)
}

func (f flow) shown() netip.AddrPort {
	return netip.AddrPortFrom(f.TupleReply.IP.DestinationAddress.Unmap(), f.TupleReply.Proto.DestinationPort)
}

func (f flow) state() uint8 {
	if f.ProtoInfo.TCP == nil {
		return 0
	}
	return f.ProtoInfo.TCP.State
}

// mayLive reports whether there may be a client or a server that takes the flow for
// a connection.
func (f flow) mayLive() bool {
	return f.state() >= established && f.state() <= lastACK || f.state() == closed
}

// lastACK is the client's last acknowledgement, as the mark rule wrote it: in the
// order of the network.
func (f flow) lastACK() uint32 { return binary.BigEndian.Uint32(native32(f.Mark)) }

// tracker reads and deletes flows.
type tracker struct {
	conn   *conntrack.Conn
	listen netip.Addr
}

func dialTracker(listen netip.Addr) (*tracker, error) {
	conn, err := conntrack.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("opening conntrack: %w", err)
	}
	return &tracker{conn: conn, listen: listen}, nil
}

func (t *tracker) close() error { return t.conn.Close() }

// led returns the flows of some families that have been led to another address
// than the one they asked for and that match wants. Each family costs a walk
// through the kernel's whole table, 10 ms or more.
func (t *tracker) led(of []*family, wants func(flow) bool) ([]flow, error) {
	var found []flow
	for _, f := range of {
		all, err := t.conn.DumpFilter(translated(f), nil)
		if err != nil {
			return nil, fmt.Errorf("reading flows: %w", err)
		}
		for i := range all {
			if one := (flow{all[i]}); t.isOurs(one) && wants(one) {
				found = append(found, one)
			}
		}
	}
	return found, nil
}

func translated(f *family) conntrack.Filter {
	return conntrack.NewFilter().Family(f.flows).
		Status(conntrack.StatusDstNAT).StatusMask(uint32(conntrack.StatusDstNAT))
}

func (t *tracker) isOurs(f flow) bool {
	return f.TupleOrig.Proto.Protocol == unix.IPPROTO_TCP &&
		(!isCertain(t.listen) || f.asked().Addr() == t.listen)
}

// remove deletes a flow. One that is gone already is no error.
func (t *tracker) remove(f flow) error {
	err := t.conn.Delete(conntrack.Flow{TupleOrig: f.TupleOrig, TupleReply: f.TupleReply, ID: f.ID, Zone: f.Zone})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting a flow of port %d: %w", f.port(), err)
	}
	return nil
}
