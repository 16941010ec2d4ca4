package kernel

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers of the nftables machine: four of 16 bytes, which can be addressed by
// 4 bytes, too. An address with a port takes the first, in IPv6 a part of the second.
const (
	regWork  = unix.NFT_REG_1
	regPort  = unix.NFT_REG_4
	regPort4 = unix.NFT_REG32_01 // the port behind an IPv4 address in the first
	regPort6 = unix.NFT_REG_2    // the port behind an IPv6 address in the first
)

// TCP flags, as in the 14th byte of the header.
const (
	fin = 0x01
	syn = 0x02
	rst = 0x04
	psh = 0x08
	ack = 0x10
)

// Directions of a flow: the client's packets are the original ones.
const (
	original = 0
	reply    = 1
)

// Bits of a flow's status.
const (
	seenReply = 1 << 1
	assured   = 1 << 2
	translate = 1 << 5 // its destination is another than the one asked for
)

// label is set on flows whose client has ended its side. Any bit of the 128 would
// do; this one is far from those that switches hand out first.
var label = func() []byte {
	bits := make([]byte, 16)
	bits[15] = 0x40
	return bits
}()

// words are the parts of a rule in the order in which a packet is held against them.
func words(parts ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

func native32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// masked goes on if the bits of mask in the working register are, or are not,
// those of want.
func masked(op expr.CmpOp, mask, want []byte) []expr.Any {
	n := uint32(len(mask))
	return []expr.Any{
		&expr.Bitwise{SourceRegister: regWork, DestRegister: regWork, Len: n, Mask: mask, Xor: make([]byte, n)},
		&expr.Cmp{Op: op, Register: regWork, Data: want},
	}
}

func isTCP() []expr.Any { return protocol(expr.CmpOpEq) }

func isNotTCP() []expr.Any { return protocol(expr.CmpOpNeq) }

func protocol(op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regWork},
		&expr.Cmp{Op: op, Register: regWork, Data: []byte{unix.IPPROTO_TCP}},
	}
}

// isLocal goes on with packets to an address of this host.
func isLocal() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: regWork, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regWork, Data: native32(unix.RTN_LOCAL)},
	}
}

// isElsewhere goes on with packets that neither come from nor go to the loopback
// device, as key says: expr.MetaKeyIIFNAME or expr.MetaKeyOIFNAME.
func isElsewhere(key expr.MetaKey) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, "lo")
	return []expr.Any{
		&expr.Meta{Key: key, Register: regWork},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regWork, Data: name},
	}
}

// flags goes on if of the given TCP flags exactly those of want are set.
func flags(of, want byte) []expr.Any {
	load := &expr.Payload{DestRegister: regWork, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1}
	return append([]expr.Any{load}, masked(expr.CmpOpEq, []byte{of}, []byte{want})...)
}

// anyFlag goes on if one of the TCP flags is set.
func anyFlag(of byte) []expr.Any {
	load := &expr.Payload{DestRegister: regWork, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1}
	return append([]expr.Any{load}, masked(expr.CmpOpNeq, []byte{of}, []byte{0})...)
}

// What clients of PostgreSQL send, without encryption, before the server is to end
// the connection: a whole message, and the code of another behind its length.
var (
	terminate     = []byte{'X', 0, 0, 0, 4}
	cancelRequest = []byte{0x04, 0xd2, 0x16, 0x2e}
)

// says goes on if the packet's data have certain bytes at an offset.
func says(offset uint32, want []byte) []expr.Any {
	const data = expr.PayloadBase(unix.NFT_PAYLOAD_TRANSPORT_HEADER + 1) // behind the TCP header
	return []expr.Any{
		&expr.Payload{DestRegister: regWork, Base: data, Offset: offset, Len: uint32(len(want))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regWork, Data: want},
	}
}

// status goes on if of the given bits of a flow's status exactly those of want are set.
func status(of, want uint32) []expr.Any {
	load := &expr.Ct{Key: expr.CtKeySTATUS, Register: regWork}
	return append([]expr.Any{load}, masked(expr.CmpOpEq, native32(of), native32(want))...)
}

// state goes on if the packet's relation to its flow is one of the given.
func state(of uint32) []expr.Any {
	load := &expr.Ct{Key: expr.CtKeySTATE, Register: regWork}
	return append([]expr.Any{load}, masked(expr.CmpOpNeq, native32(of), native32(0))...)
}

func direction(d byte) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: regWork},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regWork, Data: []byte{d}},
	}
}

// hasNoLabel goes on with flows whose client has not ended its side.
func hasNoLabel() []expr.Any {
	load := &expr.Ct{Key: expr.CtKeyLABELS, Register: regWork}
	return append([]expr.Any{load}, masked(expr.CmpOpEq, label, make([]byte, len(label)))...)
}

func setLabel() []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: regWork, Data: label},
		&expr.Ct{Key: expr.CtKeyLABELS, SourceRegister: true, Register: regWork},
	}
}

// markACK keeps the packet's acknowledgement number in its flow's mark.
func markACK() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: regWork, Base: expr.PayloadBaseTransportHeader, Offset: 8, Len: 4},
		&expr.Ct{Key: expr.CtKeyMARK, SourceRegister: true, Register: regWork},
	}
}

// portAsked loads the port that a packet goes to.
func portAsked() []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: regPort, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}}
}

// portOfFlow loads the port that the client of a packet's flow asked for.
func portOfFlow() []expr.Any {
	return []expr.Any{&expr.Ct{Key: expr.CtKeyPROTODST, Register: regPort, Direction: original}}
}

// isIn goes on if the port loaded is in a set.
func isIn(s *nftables.Set) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: regPort, SetName: s.Name, SetID: s.ID}}
}

func isNotIn(s *nftables.Set) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: regPort, SetName: s.Name, SetID: s.ID, Invert: true}}
}

// putInto puts the port loaded into a set.
func putInto(s *nftables.Set) []expr.Any {
	return []expr.Any{&expr.Dynset{
		SrcRegKey: regPort, SetName: s.Name, SetID: s.ID, Operation: unix.NFT_DYNSET_OP_ADD, Timeout: s.Timeout,
	}}
}

func jump(chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
}

func drop() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }

// rejectTCP answers a packet with the reset that its sender can not but believe.
func rejectTCP() []expr.Any { return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}} }
