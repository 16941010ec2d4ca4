package registrar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/pgpatron/pgpatron/registrar/internal/staff"
	"github.com/pgpatron/pgpatron/state"
)

// clashPause is the most that one of two waits who picked the same ports.
const clashPause = 50 * time.Millisecond

// portPicker finds host ports for new nodes. A node keeps them for good: they
// are labels of its volume.
type portPicker struct {
	docker *docker
	ports  state.Ports
	addr   netip.Addr
	log    *slog.Logger

	// mu serialises picking: a port is free until a volume says otherwise.
	mu sync.Mutex
}

// volume makes the volume of a node, with host ports that nobody has.
func (p *portPicker) volume(ctx context.Context, name string, labels func(hostPorts) map[string]string) (volume, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	refused := map[int]bool{}
	for {
		held, err := p.held(ctx, name)
		if err != nil {
			return volume{}, err
		}
		ports, err := p.pick(ctx, func(port int) bool { return held[port] || refused[port] })
		if err != nil {
			return volume{}, err
		}
		v, err := p.docker.createVolume(ctx, name, labels(ports))
		if err != nil {
			return volume{}, err
		}
		// Another registrar on this Docker may have picked the same
		// ones in the same moment. Whoever sees that gives way.
		held, err = p.held(ctx, name)
		if err != nil {
			return volume{}, err
		}
		clash := false
		for _, port := range v.ports {
			if held[port] {
				refused[port], clash = true, true
			}
		}
		if !clash {
			return v, nil
		}
		if err := p.docker.removeVolume(ctx, name); err != nil {
			return volume{}, err
		}
		staff.Pause(ctx, rand.N(clashPause)) // or both would pick alike for ever
	}
}

// held returns the host ports of every node on this Docker but the named one.
func (p *portPicker) held(ctx context.Context, name string) (map[int]bool, error) {
	volumes, err := p.docker.volumes(ctx, anyNode())
	if err != nil {
		return nil, err
	}
	held := map[int]bool{}
	for _, v := range volumes {
		if v.name == name {
			continue
		}
		for _, port := range v.ports {
			held[port] = true
		}
	}
	return held, nil
}

// pick returns the lowest ports that are neither taken nor in use.
func (p *portPicker) pick(ctx context.Context, taken func(int) bool) (hostPorts, error) {
	picked := hostPorts{}
	port := p.ports.First
	for _, internal := range internalPorts {
		for port <= p.ports.Last && (taken(port) || p.strangers(ctx, port)) {
			port++
		}
		if port > p.ports.Last {
			return nil, fmt.Errorf("no host port left in %v on %v", p.ports, p.addr)
		}
		picked[internal] = port
		port++
	}
	return picked, nil
}

// strangers reports whether something that is no node has the port, and says so.
func (p *portPicker) strangers(ctx context.Context, port int) bool {
	used := inUse(ctx, p.addr, port)
	if used {
		p.log.InfoContext(ctx, "host port is in use by something else, skipping it", "addr", netip.AddrPortFrom(p.addr, uint16(port)))
	}
	return used
}

// inUse reports whether something listens on the port. Where the address is
// not this process's to bind, Docker finds out at the start.
func inUse(ctx context.Context, addr netip.Addr, port int) bool {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", netip.AddrPortFrom(addr, uint16(port)).String())
	if err != nil {
		return errors.Is(err, syscall.EADDRINUSE)
	}
	l.Close()
	return false
}
