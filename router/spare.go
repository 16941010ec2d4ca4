package router

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// isWantOfFiles reports whether something failed because no more files may be open.
func isWantOfFiles(err error) bool { return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) }

// turnedAwayAtOnce is how many are turned away before others have a turn.
const turnedAwayAtOnce = 256

// spare is a file that is kept open for the moment in which no more may be: closed, it
// leaves room to take a connection and reset it. Its client then tries another router, or says
// what is wrong, instead of waiting in a queue that does not move.
type spare struct {
	// path is what is kept open.
	path string

	// mu guards the rest. fd is -1 while there is none.
	mu sync.Mutex
	fd int
}

func newSpare() *spare {
	s := &spare{path: os.DevNull}
	s.open()
	return s
}

func (s *spare) open() {
	fd, err := unix.Open(s.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		fd = -1
	}
	s.fd = fd
}

// keep reports whether the file is open, after trying to open it again if it is not. Whoever
// takes connections calls it first: when somebody else has taken the room that turnAway had
// made, the next file that comes free is this one, and no connection's.
func (s *spare) keep() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		s.open()
	}
	return s.fd >= 0
}

// turnAway resets connections that have come to a listener, and returns how many. Where
// somebody else takes the room that it makes, it turns away none.
func (s *spare) turnAway(listener int) (turned int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for turned < turnedAwayAtOnce {
		if s.fd >= 0 {
			unix.Close(s.fd)
		}
		fd, err := acceptNow(listener)
		if err == nil {
			resetFD(fd)
			turned++
		}
		s.open()
		if err != nil {
			return turned
		}
	}
	return turned
}
