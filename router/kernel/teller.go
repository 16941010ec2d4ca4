package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"
)

// teller counts flows. It reads of each only what it needs: where connections are
// short, the kernel remembers tens of thousands that have ended.
type teller struct {
	listen netip.Addr

	// mu guards conn, for as long as a count takes.
	mu   sync.Mutex
	conn *netfilter.Conn
}

func dialTeller(listen netip.Addr) (*teller, error) {
	conn, err := netfilter.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("opening conntrack: %w", err)
	}
	return &teller{conn: conn, listen: listen}, nil
}

func (t *teller) close() error { return t.conn.Close() }

// open returns how many flows to each port have been led somewhere and have not
// ended.
func (t *teller) open() (map[uint16]int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := map[uint16]int{}
	for _, f := range families {
		flows, err := t.dump(f)
		if err != nil {
			return nil, fmt.Errorf("reading flows: %w", err)
		}
		for _, message := range flows {
			if port, ok := t.isOpen(f, message.Data); ok {
				found[port]++
			}
		}
	}
	return found, nil
}

// Attributes of flows, as linux/netfilter/nfnetlink_conntrack.h numbers them.
const (
	attrOriginal, attrStatus, attrProtoInfo, attrStatusMask = 1, 3, 4, 26
	attrAddresses, attrProtocol                             = 1, 2 // of a direction
	attrNumber, attrDestination                             = 1, 3 // of a protocol
	attrTCP, attrState                                      = 1, 1 // of what is known of one
	messageGet                                              = 1
)

// dump asks for the flows of a family that are translated.
func (t *teller) dump(f *family) ([]netlink.Message, error) {
	translated := netfilter.Uint32Bytes(uint32(conntrack.StatusDstNAT))
	request, err := netfilter.MarshalNetlink(netfilter.Header{
		SubsystemID: netfilter.NFSubsysCTNetlink, MessageType: messageGet,
		Family: f.flows, Flags: netlink.Request | netlink.Dump,
	}, []netfilter.Attribute{{Type: attrStatus, Data: translated}, {Type: attrStatusMask, Data: translated}})
	if err != nil {
		return nil, err
	}
	return t.conn.Query(request)
}

// isOpen returns the port that a flow's client asked for, if the flow is ours and
// has not ended.
func (t *teller) isOpen(f *family, message []byte) (port uint16, ok bool) {
	const header = 4
	flow := message[min(header, len(message)):]
	original := attribute(flow, attrOriginal)
	protocol := attribute(original, attrProtocol)
	asked, state := attribute(protocol, attrDestination), attribute(flow, attrProtoInfo, attrTCP, attrState)
	if !bytes.Equal(attribute(protocol, attrNumber), []byte{unix.IPPROTO_TCP}) || len(asked) != 2 || len(state) != 1 {
		return 0, false
	}
	if isCertain(t.listen) && !bytes.Equal(attribute(original, attrAddresses, f.tupleDestination), t.listen.AsSlice()) {
		return 0, false
	}
	return binary.BigEndian.Uint16(asked), state[0] >= established && state[0] < timeWait
}

// attribute returns the attribute at the end of a path of types, nil if there is
// none.
func attribute(attributes []byte, path ...uint16) []byte {
	for _, want := range path {
		attributes = find(attributes, want)
	}
	return attributes
}

// find returns the attribute of a type.
func find(attributes []byte, want uint16) []byte {
	const header, alignment, flags = 4, 4, unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
	for len(attributes) >= header {
		length := int(binary.NativeEndian.Uint16(attributes))
		if length < header || length > len(attributes) {
			return nil
		}
		if binary.NativeEndian.Uint16(attributes[2:])&^flags == want {
			return attributes[header:length]
		}
		attributes = attributes[min((length+alignment-1)&^(alignment-1), len(attributes)):]
	}
	return nil
}
