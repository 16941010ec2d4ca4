package router

import (
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

// IsSilent is isSilent, which the event loops ask of sockets.
func IsSilent(info *unix.TCPInfo, limit time.Duration) bool { return isSilent(info, limit) }
