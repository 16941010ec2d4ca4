package patroni

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// ExitError says that Patroni ended otherwise than by a clean stop.
type ExitError struct {
	// Code is the exit status, or 128 and the signal's number as shells have it.
	Code int
}

// Error tells the exit status.
func (e *ExitError) Error() string { return fmt.Sprintf("patroni ended with status %d", e.Code) }

// child is the one program that this process looks after. As PID 1 of a
// container this process also inherits every orphan in it, PostgreSQL's first
// of all, and has to collect them: so there is one wait for everything, and
// os/exec, which would wait for its own, is not used.
type child struct {
	pid int
	// ended gets the child's end, once.
	ended chan error
	// orphans has word when a process ended that the child had left behind.
	orphans chan struct{}
}

// startChild starts a program with this process's environment and outputs.
func startChild(argv []string) (*child, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, err
	}
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{uintptr(syscall.Stdin), uintptr(syscall.Stdout), uintptr(syscall.Stderr)},
	})
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	c := &child{pid: pid, ended: make(chan error, 1), orphans: make(chan struct{}, 1)}
	go func() { c.ended <- c.reap() }()
	return c, nil
}

// reap collects every process that ends, until the child is among them.
func (c *child) reap() error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("waiting for process %d: %w", c.pid, err)
		case pid != c.pid:
			poke(c.orphans)
		case status.Exited() && status.ExitStatus() == 0:
			return nil
		case status.Exited():
			return &ExitError{Code: status.ExitStatus()}
		case status.Signaled():
			return &ExitError{Code: 128 + int(status.Signal())}
		}
	}
}

// signal passes a signal to the child. It must not be called after ended gave
// its result: the number may be another's then.
func (c *child) signal(s syscall.Signal) error {
	if err := syscall.Kill(c.pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("passing %v on: %w", s, err)
	}
	return nil
}
