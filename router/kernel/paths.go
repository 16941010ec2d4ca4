package kernel

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/google/nftables"
)

const (
	// A leader that did not answer through the kernel is not led to for so long,
	// twice as long each time that it happens again.
	firstBlock = 10 * time.Second
	lastBlock  = 10 * time.Minute
	// surveyInterval is how often this host's addresses and firewall are looked at.
	surveyInterval = 10 * time.Second
)

// paths knows which leaders the kernel can reach. User space reaches others: its
// packets are not forwarded but sent.
type paths struct {
	log *slog.Logger
	// ports is the range of public ports in iptables' words.
	ports string

	surveyed time.Time
	local    map[netip.Addr]struct{}
	// obstacles are what keeps packets from being forwarded, if anything does.
	obstacles map[*family]obstacle
	blocked   map[netip.AddrPort]block
	// news is whether more can be reached than before.
	news bool
}

// block is how long a leader is not led to.
type block struct {
	until time.Time
	next  time.Duration
	// told is whether the end of the block has been told.
	told bool
}

func newPaths(ports string, log *slog.Logger) *paths {
	return &paths{log: log, ports: ports, obstacles: map[*family]obstacle{}, blocked: map[netip.AddrPort]block{}}
}

// survey looks at this host, unless it has done so a moment ago.
func (p *paths) survey(c *nftables.Conn, now time.Time) error {
	if now.Sub(p.surveyed) < surveyInterval {
		return nil
	}
	p.surveyed = now
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("reading this host's addresses: %w", err)
	}
	local := map[netip.Addr]struct{}{}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			local[prefix.Addr().Unmap()] = struct{}{}
		}
	}
	p.news = p.news || len(local) > len(p.local)
	p.local = local
	for _, f := range families {
		now, err := f.findObstacle(c, p.ports)
		if err != nil {
			return err
		}
		if before := p.obstacles[f]; now != before {
			p.obstacles[f] = now
			p.tell(f, now)
		}
	}
	return nil
}

func (p *paths) tell(f *family, o obstacle) {
	if o == (obstacle{}) {
		p.news = true
		p.log.Info("leaders on other hosts can be reached in the kernel", "family", f.name)
		return
	}
	p.log.Warn("leaders on other hosts are served in user space", "family", f.name, "problem", o.problem, "mend", o.mend)
}

// carries reports whether the kernel may lead connections to an address.
func (p *paths) carries(to netip.AddrPort, now time.Time) bool {
	a := to.Addr()
	if !a.IsValid() || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.Zone() != "" {
		return false
	}
	if b, ok := p.blocked[to]; ok && now.Before(b.until) {
		return false
	}
	if _, local := p.local[a]; local {
		return true
	}
	return p.obstacles[familyOf(a)] == obstacle{}
}

// fail says that a leader did not answer a connection that the kernel led there.
func (p *paths) fail(to netip.AddrPort, port uint16, now time.Time) {
	b := p.blocked[to]
	if b.next == 0 {
		b.next = firstBlock
	}
	p.log.Warn("a leader was not reached through the kernel, user space serves it",
		"port", port, "addr", to, "for", b.next)
	b.until, b.next, b.told = now.Add(b.next), min(2*b.next, lastBlock), false
	p.blocked[to] = b
}

// changed reports, once, that more can be reached than before.
func (p *paths) changed(now time.Time) bool {
	news := p.news
	p.news = false
	for to, b := range p.blocked {
		switch {
		case now.After(b.until.Add(lastBlock)):
			delete(p.blocked, to)
		case !b.told && now.After(b.until):
			b.told, news = true, true
			p.blocked[to] = b
		}
	}
	return news
}
