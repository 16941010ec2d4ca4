package router

import (
	"context"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgpatron/pgpatron/state"
)

// ReadStartup is readStartup for the fuzz test.
func ReadStartup(client io.ReadWriter) (user, database string, err error) {
	s, err := readStartup(client)
	return s.user, s.database, err
}

// LocalPortProblem is localPortProblem, which Run asks of this host's settings.
func LocalPortProblem(ports state.Ports, local, reserved string) string {
	return localPortProblem(ports, local, reserved)
}

// PauseBetween returns how long the leader of one member's reign waits for its
// question after another member, or the same, was asked in the reign before.
func PauseBetween(before, now string) time.Duration {
	s := probing{}
	s.enter(newReign(context.Background(), leader{member: before}))
	s.asked = time.Now().Add(time.Hour)
	s.enter(newReign(context.Background(), leader{member: now}))
	return s.pause()
}

// IsSilent is isSilent, which the event loops ask of sockets.
func IsSilent(info *unix.TCPInfo, limit time.Duration) bool { return isSilent(info, limit) }
