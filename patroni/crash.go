package patroni

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// mourning is the least time from one crash to the next that Patroni is told of.
const mourning = 2 * time.Second

// mourn has Patroni look at once when its server was killed. Patroni has it started by a
// process that is over before, so that it is this process that hears of its end; Patroni
// itself would look for it after a loop_wait.
func (n *Node) mourn(ctx context.Context, orphans <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-orphans:
		}
		if !crashed(n.Paths.Data) {
			continue
		}
		n.Log.WarnContext(ctx, "PostgreSQL ended without a clean stop, having Patroni look")
		if err := n.wake(ctx); err != nil && ctx.Err() == nil {
			n.Log.DebugContext(ctx, "waking patroni", "err", err)
		}
		// One that crashes again and again is not started any faster.
		select {
		case <-ctx.Done():
			return
		case <-time.After(mourning):
		}
	}
}

// crashed reports whether the server that had this data ended without a clean stop: its
// lock file is there, and the process that is named first in it is not.
func crashed(data string) bool {
	b, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return false
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	return err == nil && pid > 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}
