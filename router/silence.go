package router

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// silentAttempts is how often something must have been sent again, or asked, in
// vain before a peer counts as silent.
const silentAttempts = 3

// endSilent looks, until ctx ends, for sessions with a peer that has not
// acknowledged anything for as long as a dead idle one would be kept: the kernel
// does not ask after a peer while something is under way to it, and tries for a
// quarter of an hour. TCP_USER_TIMEOUT would also end who merely does not read.
func (p *plane) endSilent(ctx context.Context) {
	limit := 2 * p.cfg.KeepAlive
	for sleep(ctx, p.cfg.KeepAlive) == nil {
		for _, l := range p.loops {
			l.post(func() { l.endSilent(limit) })
		}
	}
}

func (l *loop) endSilent(limit time.Duration) {
	for _, w := range l.watched {
		d, ok := w.watcher.(*side)
		if !ok || !d.spokenTo || d.session.phase != joined {
			continue
		}
		info, err := unix.GetsockoptTCPInfo(d.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		switch {
		case err != nil:
		case info.Unacked == 0 && info.Notsent_bytes == 0:
			d.spokenTo = false
		case isSilent(info, limit):
			d.session.plane.metrics.silent.Inc()
			if d == &d.session.server {
				d.session.doubt()
			}
			d.session.reset()
		}
	}
}

// isSilent reports whether a peer has not acknowledged anything for so long,
// although it was asked to. One that does not read answers when it is asked.
func isSilent(info *unix.TCPInfo, limit time.Duration) bool {
	asked := max(info.Retransmits, info.Probes)
	return asked >= silentAttempts && time.Duration(info.Last_ack_recv)*time.Millisecond >= limit
}
