package router

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/pgpatron/pgpatron/state"
)

// The kernel's settings of the ports that it hands out to sockets that ask for
// none.
const (
	localRangeFile    = "/proc/sys/net/ipv4/ip_local_port_range"
	localReservedFile = "/proc/sys/net/ipv4/ip_local_reserved_ports"
)

// warnOfLocalPorts warns if the kernel may hand a public port to somebody's
// client socket, on which the router could then not listen.
func warnOfLocalPorts(ports state.Ports, log *slog.Logger) {
	local, err := os.ReadFile(localRangeFile)
	if err != nil {
		return
	}
	// Without the file nothing is reserved.
	reserved, _ := os.ReadFile(localReservedFile)
	if problem := localPortProblem(ports, string(local), string(reserved)); problem != "" {
		log.Warn("public ports are not safe from this host's own sockets", "problem", problem)
	}
}

// localPortProblem says in words what is wrong, if anything is, and how to mend
// it.
func localPortProblem(ports state.Ports, local, reserved string) string {
	var first, last int
	if _, err := fmt.Sscan(local, &first, &last); err != nil {
		return ""
	}
	overlap := state.Ports{First: max(first, ports.First), Last: min(last, ports.Last)}
	if overlap.First > overlap.Last || isReserved(overlap, reserved) {
		return ""
	}
	settings := strings.Trim(strings.TrimSpace(reserved)+","+overlap.String(), ",")
	return fmt.Sprintf("ports %v lie in net.ipv4.ip_local_port_range (%d-%d); mend it with: sysctl -w net.ipv4.ip_local_reserved_ports=%s",
		overlap, first, last, settings)
}

// isReserved reports whether every port is in a list such as "8080,30000-30999".
func isReserved(ports state.Ports, list string) bool {
	reserved := map[int]bool{}
	for item := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, ranged := strings.Cut(item, "-")
		if !ranged {
			last = first
		}
		r, err := state.ParsePorts(first + "-" + last)
		if err != nil {
			continue
		}
		for port := r.First; port <= r.Last; port++ {
			reserved[port] = true
		}
	}
	for port := ports.First; port <= ports.Last; port++ {
		if !reserved[port] {
			return false
		}
	}
	return true
}
