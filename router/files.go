package router

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pgpatron/pgpatron/state"
)

// filesReserved are the open files that are not a client's: etcd, probes, logs,
// clients that are being refused.
const filesReserved = refusalsAtOnce + 256

// sessionsByFiles returns how many sessions the limit of open files allows
// beside the public ports. A session has two files.
func sessionsByFiles(ports state.Ports) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1000
	}
	files := int(min(limit.Cur, 1<<21)) - filesReserved - portsOf(ports)
	return max(files/2, 1)
}

// warnOfFiles warns if the limit of open files does not allow the sessions that
// are configured.
func warnOfFiles(cfg Config, log *slog.Logger) {
	if allowed := sessionsByFiles(cfg.Ports); cfg.MaxSessions > allowed {
		log.Warn("the limit of open files is too low for max_sessions", "max_sessions", cfg.MaxSessions, "allowed", allowed,
			"problem", fmt.Sprintf("mend it with: ulimit -n %d, or LimitNOFILE= of systemd", cfg.MaxSessions*2+filesReserved+portsOf(cfg.Ports)))
	}
}

func portsOf(p state.Ports) int { return p.Last - p.First + 1 }

const (
	// receiveMost is how much of what a peer has sent the kernel shall keep for a
	// session that does not move.
	receiveMost = 4 << 20
	// receiveFine is a limit of the kernel's own that is low enough.
	receiveFine = 8 << 20

	receiveRangeFile = "/proc/sys/net/ipv4/tcp_rmem"
)

// receiveBuffer returns the size that sockets need to be given, or 0 if the
// kernel's own limit will do: newer ones let a buffer grow to 32 MiB.
func receiveBuffer() int {
	b, err := os.ReadFile(receiveRangeFile)
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) != 3 {
		return 0
	}
	if most, err := strconv.Atoi(fields[2]); err != nil || most <= receiveFine {
		return 0
	}
	return receiveMost
}
