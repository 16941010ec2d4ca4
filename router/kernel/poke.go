package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"golang.org/x/sys/unix"
)

// poker ends connections whose flows are gone by sending what makes their ends
// let go: a reset that the client must believe, and bare SYNs, which a living
// connection answers with a challenge that this host's kernel then resets.
type poker struct{ v4, v6 int }

func dialPoker() (*poker, error) {
	v4, err := rawSocket(unix.AF_INET)
	if err != nil {
		return nil, err
	}
	v6, err := rawSocket(unix.AF_INET6)
	if err != nil {
		return nil, errors.Join(err, unix.Close(v4))
	}
	return &poker{v4: v4, v6: v6}, nil
}

// rawSocket opens a socket that sends whole IP packets, marked as ours, and that
// receives nothing.
func rawSocket(domain int) (int, error) {
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return 0, fmt.Errorf("opening a raw socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, pokeMark),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer))
	if err != nil {
		return 0, errors.Join(fmt.Errorf("marking a raw socket: %w", err), unix.Close(fd))
	}
	return fd, nil
}

func (p *poker) close() error { return errors.Join(unix.Close(p.v4), unix.Close(p.v6)) }

// resetClient ends a flow for its client, which must have seen nothing since its
// flow was read.
func (p *poker) resetClient(f flow) error {
	if !f.mayLive() {
		return nil
	}
	return p.send(segment{from: f.asked(), to: f.client(), seq: f.lastACK(), flags: rst})
}

// challengeServer has a flow's leader ask what goes on, and hear that it is over.
func (p *poker) challengeServer(f flow) error {
	if !f.mayLive() {
		return nil
	}
	return p.send(segment{from: f.shown(), to: f.leader(), seq: rand.Uint32(), flags: syn})
}

// challengeClient does the same with a flow's client, in case a reset was not
// believed. It must not be repeated later: a client that begins anew from the
// same port would take it for an answer.
func (p *poker) challengeClient(f flow) error {
	if f.state() < established || f.state() > lastACK {
		return nil
	}
	return p.send(segment{from: f.asked(), to: f.client(), seq: rand.Uint32(), flags: syn})
}

func (p *poker) send(s segment) error {
	var err error
	if s.to.Addr().Is4() {
		err = unix.Sendto(p.v4, s.packet(), 0, &unix.SockaddrInet4{Addr: s.to.Addr().As4()})
	} else {
		err = unix.Sendto(p.v6, s.packet(), 0, &unix.SockaddrInet6{Addr: s.to.Addr().As16()})
	}
	if err != nil {
		return fmt.Errorf("poking %v: %w", s.to, err)
	}
	return nil
}

// segment is a TCP segment without data, from anybody to anybody.
type segment struct {
	from, to netip.AddrPort
	seq, ack uint32
	flags    byte
}

// packet returns the segment in an IP packet.
func (s segment) packet() []byte {
	tcp := s.header()
	from, to := s.from.Addr().AsSlice(), s.to.Addr().AsSlice()
	sum := append(append(append([]byte{}, from...), to...), 0, 0, 0, unix.IPPROTO_TCP, 0, 0, 0, byte(len(tcp)))
	binary.BigEndian.PutUint16(tcp[16:], checksum(append(sum, tcp...)))
	if s.to.Addr().Is4() {
		ip := make([]byte, 20) // the kernel fills in its identification and checksum
		ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_TCP
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(tcp)))
		copy(ip[12:], from)
		copy(ip[16:], to)
		return append(ip, tcp...)
	}
	ip := make([]byte, 40)
	ip[0], ip[6], ip[7] = 0x60, unix.IPPROTO_TCP, 64
	binary.BigEndian.PutUint16(ip[4:], uint16(len(tcp)))
	copy(ip[8:], from)
	copy(ip[24:], to)
	return append(ip, tcp...)
}

// header returns the TCP header but for its checksum.
func (s segment) header() []byte {
	tcp := make([]byte, 20)
	binary.BigEndian.PutUint16(tcp[0:], s.from.Port())
	binary.BigEndian.PutUint16(tcp[2:], s.to.Port())
	binary.BigEndian.PutUint32(tcp[4:], s.seq)
	binary.BigEndian.PutUint32(tcp[8:], s.ack)
	tcp[12], tcp[13] = 5<<4, s.flags
	binary.BigEndian.PutUint16(tcp[14:], 65535)
	return tcp
}

// checksum is the one of the internet protocols, over an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
