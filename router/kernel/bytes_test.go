package kernel_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/router/kernel"
)

// What is sent arrives, though the client ends its side before it has read
// anything: as many transfers as there are rounds, each way at once.
func bytesArriveAfterAnEarlyEnd(t *testing.T, l *lab) {
	p, _ := l.start(kernel.Config{})
	p.Offer(l.portNumber(), l.l1["ipv4"].addr)
	l.reach("direct", "ipv4", l.l1["ipv4"])
	var transfers sync.WaitGroup
	for kind := range l.clients {
		transfers.Go(func() {
			for round := range *rounds {
				if err := l.transfer(kind, 8<<20); err != nil {
					t.Errorf("round %d: %s: %v", round, kind, err)
				}
			}
		})
	}
	transfers.Wait()
}

// transfer sends bytes, ends its side and reads them back.
func (l *lab) transfer(kind string, size int) error {
	conn, err := l.dial(kind, "ipv4", echo)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * patience))
	sent := make([]byte, size)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(sent)
		written <- errors.Join(err, conn.CloseWrite())
	}()
	received, err := io.ReadAll(conn)
	if err := errors.Join(err, <-written); err != nil {
		return err
	}
	if !bytes.Equal(received, sent) {
		return errors.New("what was received differs from what was sent")
	}
	return nil
}

// A reset by either side reaches the other.
func resetsPass(t *testing.T, l *lab) {
	p, _ := l.start(kernel.Config{})
	leader := l.l1["ipv4"]
	p.Offer(l.portNumber(), leader.addr)
	l.reach("direct", "ipv4", leader)
	for kind := range l.clients {
		p.Offer(l.portNumber(), leader.addr)
		l.reach(kind, "ipv4", leader)
		eventually(t, "the leader is alone", func() bool { return leader.open.Load() == 0 })
		conn := l.ask(kind, "ipv4")
		conn.SetLinger(0)
		conn.Close()
		eventually(t, "the leader knows", func() bool { return leader.open.Load() == 0 })

		conn = l.ask(kind, "ipv4")
		leader.conns.Range(func(server, _ any) bool {
			server.(*net.TCPConn).SetLinger(0)
			server.(*net.TCPConn).Close()
			return true
		})
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the leader's reset became %v", kind, err)
		}
		eventually(t, "the doubt is taken in", func() bool { return !l.leads(l.portNumber()) })
	}
}
