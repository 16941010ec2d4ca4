package kernel

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/ti-mo/netfilter"
)

// family is what differs between IPv4 and IPv6.
type family struct {
	name    string
	nft     nftables.TableFamily
	flows   netfilter.ProtoFamily
	address nftables.SetDatatype
	bytes   uint32
	// tupleDestination is the attribute of the address asked for among those of a flow.
	tupleDestination uint16
	// port is the register of a port behind an address in the first register.
	port uint32
	// source and destination are where those stand in the header.
	source, destination uint32
	// loopback and loopbackMask are the addresses that no packet from or to
	// another host may have.
	loopback, loopbackMask []byte
	// forwarding is the setting that lets this host forward, forwardingFile where
	// it can be read, iptables the program that edits this family's rules.
	forwarding, forwardingFile, iptables string
}

var ipv4 = &family{
	name: "IPv4", nft: nftables.TableFamilyIPv4, flows: netfilter.ProtoIPv4, address: nftables.TypeIPAddr,
	bytes: 4, tupleDestination: 2, port: regPort4, source: 12, destination: 16,
	loopback: []byte{127, 0, 0, 0}, loopbackMask: []byte{255, 0, 0, 0},
	forwarding: "net.ipv4.ip_forward", forwardingFile: "/proc/sys/net/ipv4/ip_forward", iptables: "iptables",
}

var ipv6 = &family{
	name: "IPv6", nft: nftables.TableFamilyIPv6, flows: netfilter.ProtoIPv6, address: nftables.TypeIP6Addr,
	bytes: 16, tupleDestination: 4, port: regPort6, source: 8, destination: 24,
	loopback:     netip.IPv6Loopback().AsSlice(),
	loopbackMask: netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").AsSlice(),
	forwarding:   "net.ipv6.conf.all.forwarding", forwardingFile: "/proc/sys/net/ipv6/conf/all/forwarding", iptables: "ip6tables",
}

// families are all of them.
var families = []*family{ipv4, ipv6}

// familyOf returns the family of an address that has been unmapped.
func familyOf(a netip.Addr) *family {
	if a.Is4() {
		return ipv4
	}
	return ipv6
}

// isFor goes on with packets to the address, or, if that is not a certain one,
// to any that is not loopback.
func (f *family) isFor(listen netip.Addr) []expr.Any {
	load := &expr.Payload{DestRegister: regWork, Base: expr.PayloadBaseNetworkHeader, Offset: f.destination, Len: f.bytes}
	if isCertain(listen) {
		return []expr.Any{load, &expr.Cmp{Op: expr.CmpOpEq, Register: regWork, Data: listen.AsSlice()}}
	}
	return append([]expr.Any{load}, masked(expr.CmpOpNeq, f.loopbackMask, f.loopback)...)
}

// sender loads where a packet comes from: the address and then the port.
func (f *family) sender() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: regWork, Base: expr.PayloadBaseNetworkHeader, Offset: f.source, Len: f.bytes},
		&expr.Payload{DestRegister: f.port, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2},
	}
}

// leadTo sends a flow to the address and port in the first register.
func (f *family) leadTo() []expr.Any {
	return []expr.Any{&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f.nft), RegAddrMin: regWork, RegProtoMin: f.port}}
}

// comeFromAsked makes a flow come from the address that its client asked for.
func (f *family) comeFromAsked() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyDST, Register: regWork, Direction: original},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: uint32(f.nft), RegAddrMin: regWork},
	}
}

func isCertain(a netip.Addr) bool { return a.IsValid() && !a.IsUnspecified() }

// key is a port as sets have it.
func key(port uint16) []byte { return binary.BigEndian.AppendUint16(nil, port) }

// value is an address with its port as maps have it: each in whole 4 bytes.
func value(a netip.AddrPort) []byte {
	v := append(a.Addr().AsSlice(), key(a.Port())...)
	return append(v, 0, 0)
}

// parseValue is the reverse of value.
func (f *family) parseValue(v []byte) (netip.AddrPort, bool) {
	if uint32(len(v)) < f.bytes+2 {
		return netip.AddrPort{}, false
	}
	addr, ok := netip.AddrFromSlice(v[:f.bytes])
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(v[f.bytes:])), ok
}
