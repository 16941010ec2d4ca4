package registrar

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	dockercontainer "github.com/docker/docker/api/types/container"

	"github.com/pgpatron/pgpatron/state"
)

// container is what Docker says of one node's container.
type container struct {
	id, name       string
	node, instance string
	// spec is the digest of what it was made from.
	spec    string
	running bool
	// dead is a container that Docker failed to remove: it can not be started.
	dead bool
	// startedAt is when it was started last, diedAt when it died. Zero: never.
	startedAt, diedAt time.Time
	exitCode          int
	// pid is its first process, as the engine's host numbers it. 0: it does not run.
	pid int
	// byEvent says that its death is known from a die event, which came at heardAt.
	byEvent bool
	heardAt time.Time
	// addrs are where its internal ports are published.
	addrs map[int]netip.AddrPort
}

// run is one run of a container, from a start to a death. The next start makes
// another run of the same container.
type run struct {
	id        string
	startedAt time.Time
}

func (r run) is(other run) bool { return r.id == other.id && r.startedAt.Equal(other.startedAt) }

// death is Docker's word that a run is over.
type death struct {
	run run
	at  time.Time
	// byEvent says that a die event told it, which came at heardAt; otherwise an
	// inspection did.
	byEvent bool
	heardAt time.Time
}

// young reports whether a die event told of it, and less than limit ago: by its
// own time, and by when it came, for clocks jump.
func (d death) young(limit time.Duration) bool {
	age := time.Since(d.at)
	return d.byEvent && age >= 0 && age < limit && time.Since(d.heardAt) < limit
}

// evidence names what proves the death.
func (d death) evidence() string {
	if d.byEvent {
		return "die event"
	}
	return "inspection"
}

// death returns the end of the container's last run. A container that runs, or
// never ran, has none.
func (c container) death() (death, bool) {
	if c.running || c.startedAt.IsZero() {
		return death{}, false
	}
	return death{run: run{c.id, c.startedAt}, at: c.diedAt, byEvent: c.byEvent, heardAt: c.heardAt}, true
}

// lived is how long the last run lasted.
func (c container) lived() time.Duration { return c.diedAt.Sub(c.startedAt) }

// isAt reports whether its ports are published at an address, and nowhere else.
func (c container) isAt(host netip.Addr) bool {
	for _, addr := range c.addrs {
		if addr.Addr() != host {
			return false
		}
	}
	return true
}

func containerOf(info dockercontainer.InspectResponse) container {
	labels := info.Config.Labels
	c := container{
		id: info.ID, name: strings.TrimPrefix(info.Name, "/"),
		node: labels[labelNode], instance: labels[labelCluster], spec: labels[labelSpec],
		addrs: map[int]netip.AddrPort{},
	}
	if s := info.State; s != nil {
		c.running, c.pid = s.Running, s.Pid
		c.dead = s.Dead || s.Status == "removing"
		c.startedAt, c.diedAt, c.exitCode = dockerTime(s.StartedAt), dockerTime(s.FinishedAt), s.ExitCode
	}
	if info.HostConfig == nil {
		return c
	}
	if c.spec == "" {
		c.spec = digestOf(info.Config.Image, info.HostConfig.Resources)
	}
	for port, bindings := range info.HostConfig.PortBindings {
		for _, b := range bindings {
			if addr, err := netip.ParseAddrPort(net.JoinHostPort(b.HostIP, b.HostPort)); err == nil {
				c.addrs[port.Int()] = addr
			}
		}
	}
	return c
}

// digestOf is the digest of a container that does not say it, from before there
// was a label for it.
func digestOf(image string, r dockercontainer.Resources) string {
	return state.NodeSpec{Image: image, MemoryMB: int(r.Memory >> 20), MilliCPU: int(r.NanoCPUs / nanoPerMilli)}.Digest()
}

// dockerTime reads a time of Docker's, which says "never" by the year 1.
func dockerTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}

// portList spells the host ports for a message.
func portList(addrs map[int]netip.AddrPort) string {
	var list []string
	for _, internal := range internalPorts {
		list = append(list, strconv.Itoa(int(addrs[internal].Port())))
	}
	return strings.Join(list, " or ")
}
