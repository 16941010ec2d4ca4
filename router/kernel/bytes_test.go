package kernel_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/router/kernel"
)

// long makes tests move as much as a router has to be trusted with:
// go test ./router/kernel -args -long
var long = flag.Bool("long", false, "move large volumes")

// scaled returns how much is moved.
func scaled(usually, withLong int) int {
	if *long {
		return withLong
	}
	return usually
}

// Short sessions side by side, none lost and none led by user space.
func shortSessions(t *testing.T, l *lab) {
	const side = 8
	each := scaled(50, 1250)
	p, _ := l.start(kernel.Config{})
	p.Offer(l.portNumber(), l.l1["ipv4"].addr)
	l.reach("direct", "ipv4", l.l1["ipv4"])
	before := l.counters(p).Opened
	kinds := slices.Collect(maps.Keys(l.clients))
	var clients sync.WaitGroup
	for i := range side {
		clients.Go(func() {
			for n := range each {
				if err := l.transfer(kinds[i%len(kinds)], 1+n); err != nil {
					t.Errorf("session %d of client %d: %v", n, i, err)
				}
			}
		})
	}
	clients.Wait()
	if got := l.counters(p).Opened - before; got != uint64(side*each) {
		t.Errorf("the kernel led %d sessions, want all %d", got, side*each)
	}
}

// What is copied into a real PostgreSQL and out again, by clients with and
// without a NAT before them, is what it was.
func copiesAreExact(t *testing.T, s *site) {
	s.pg[0].SetReadOnly(false) // as an earlier test may have left it
	s.pg[0].SetReplica(false)
	s.lead(0)
	line := strings.Repeat("0123456789abcdef", 64)[1:] + "\n" // 1 KiB
	block := strings.Repeat(line, 1024)
	for _, kind := range []string{"direct", "natted"} {
		conn := s.connectLed(t, kind)
		defer conn.Close(context.Background())
		if _, err := conn.Exec(t.Context(), "CREATE TEMPORARY TABLE copied (line text)").ReadAll(); err != nil {
			t.Fatal(err)
		}
		in, out := sha256.New(), sha256.New()
		blocks := make([]io.Reader, scaled(16, 1024))
		for i := range blocks {
			blocks[i] = strings.NewReader(fmt.Sprintf("block %d\n", i) + block)
		}
		if _, err := conn.CopyFrom(t.Context(), io.TeeReader(io.MultiReader(blocks...), in), "COPY copied FROM STDIN"); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if _, err := conn.CopyTo(t.Context(), out, "COPY copied TO STDOUT"); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if !bytes.Equal(in.Sum(nil), out.Sum(nil)) {
			t.Errorf("%s: what comes back differs from what was copied in", kind)
		}
	}
}

// connectLed opens a session that the kernel leads: a doubt from before may have
// user space serve one or two.
func (s *site) connectLed(t *testing.T, kind string) (conn *pgconn.PgConn) {
	t.Helper()
	eventually(t, "the kernel leads a session", func() bool {
		before := s.led(t)
		var err error
		if conn, err = s.connect(kind); err != nil {
			t.Fatal(err)
		}
		if s.led(t) > before {
			return true
		}
		conn.Close(context.Background())
		return false
	})
	return conn
}

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
	conn.SetDeadline(time.Now().Add(10 * fixtures.Patience))
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
		conn.SetDeadline(time.Now().Add(fixtures.Patience))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the leader's reset became %v", kind, err)
		}
		eventually(t, "the doubt is taken in", func() bool { return !l.leads(l.portNumber()) })
	}
}
