package kernel_test

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/router/kernel"
)

// rounds is how often every kind of client is cut off. Thousands find what a few
// do not: a reset that is one packet too old.
var rounds = flag.Int("rounds", 1, "how many times every kind of connection is cut")

// Whatever a client is and does, a cut ends its connection, on both sides.
func cutEndsEveryKindOfConnection(t *testing.T, l *lab) {
	p, _ := l.start(kernel.Config{})
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			l := l.in(t)
			leader, next := l.l1[family], l.l2[family]
			for round := range *rounds {
				p.Offer(uint16(l.port), leader.addr)
				l.reach("direct", family, leader)
				lives := l.live(family, round)
				p.Cut(uint16(l.port))
				p.Offer(uint16(l.port), next.addr)
				l.expectCut(round, lives)
				eventually(t, "the old leader has no connection", func() bool { return leader.open.Load() == 0 })
				leader, next = next, leader
			}
		})
	}
}

// life is a connection of some kind.
type life struct {
	what  string
	conn  *net.TCPConn
	ended chan error
}

// live opens connections of every kind.
func (l *lab) live(family string, round int) []life {
	l.t.Helper()
	var lives []life
	for kind := range l.clients {
		for name, want := range map[string]byte{"idle": idle, "sending": sending, "receiving": receiving, "echo": echo} {
			conn, err := l.dial(kind, family, want)
			if err != nil {
				l.t.Fatalf("round %d: %s, %s: %v", round, kind, name, err)
			}
			one := life{fmt.Sprintf("%s, %s from %v", kind, name, conn.LocalAddr()), conn, make(chan error, 1)}
			lives = append(lives, one)
			go func() { one.ended <- live(conn, want) }()
		}
	}
	// Long enough for streams to fill their windows, and different each time.
	time.Sleep(time.Duration(5+round*7%40) * time.Millisecond)
	return lives
}

// expectCut waits until connections have been reset.
func (l *lab) expectCut(round int, lives []life) {
	l.t.Helper()
	late := time.After(fixtures.Patience)
	for _, one := range lives {
		var err error
		select {
		case err = <-one.ended:
		case <-late:
			err = errHangs
			one.conn.Close()
			late = time.After(0)
		}
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			l.t.Errorf("round %d: %s: ended with %v, want a reset", round, one.what, err)
		}
	}
}
