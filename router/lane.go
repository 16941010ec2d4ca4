package router

import "net/netip"

// lane is the way of one route through the kernel. The zero lane leads nowhere.
type lane struct {
	*lanes
	port uint16
	// full says that user space takes every new connection, because it can count.
	full bool
}

// attach gives a route its lane: what the kernel leads to its leader already, as
// an earlier router has left it, stays, unless new connections have to wait.
func (r *route) attach(l lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.lane = l
	addr, _ := r.reign.leader.kernelAddr()
	l.kernel.Adopt(l.port, addr)
	if l.breaker.isOn() || r.reign.leader.held {
		l.hold()
	}
	r.pursue(r.reign)
}

// detach takes the lane away and cuts what it carries.
func (r *route) detach() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cutLane()
	r.lane = lane{}
}

// letGo takes the lane away and cuts nothing.
func (r *route) letGo() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lane = lane{}
}

// kernelAddr is where the kernel can lead to; it resolves no names.
func (l leader) kernelAddr() (netip.AddrPort, bool) {
	addr, err := netip.ParseAddrPort(l.addr)
	return addr, err == nil
}

// cutLane ends what the kernel leads. It is called under mu. Those who come back
// at once find their places free.
func (r *route) cutLane() {
	if l := r.lane; l.lanes != nil {
		l.kernel.Cut(l.port)
		r.uncount()
	}
}

// uncount takes the kernel's sessions for none, which have been cut. It is called
// under mu.
func (r *route) uncount() {
	r.cuts++
	r.lane.limits.led.Add(-r.led.Swap(0))
}

// cutsUntilNow returns how often the kernel's sessions have been cut.
func (r *route) cutsUntilNow() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cuts
}

// setLed takes in how many sessions the kernel has: none of those that were counted,
// if they have been cut since the count began.
func (r *route) setLed(n tally) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lane.lanes == nil {
		return
	}
	if n.cuts != r.cuts {
		n.open = 0
	}
	r.lane.limits.led.Add(n.open - r.led.Swap(n.open))
}

// hold has new connections come to user space. It is called under the route's mu.
func (l lane) hold() {
	if l.lanes != nil {
		l.kernel.Hold(l.port)
	}
}

// offer has new connections led to a leader that takes writes, unless the circuit
// is broken or user space has to count them.
func (l lane) offer(leader netip.AddrPort) {
	switch {
	case l.lanes == nil || l.full:
	case l.breaker.isOn():
		l.hold()
	default:
		l.kernel.Offer(l.port, leader)
	}
}

// pursue offers the leader of a reign to the kernel once it takes writes. It is
// called under mu.
func (r *route) pursue(g *reign) {
	l := r.lane
	addr, ok := g.leader.kernelAddr()
	if l.lanes == nil || l.full || !ok || g.ctx.Err() != nil {
		return
	}
	if g.isReady() {
		l.offer(addr)
		return
	}
	l.pursue(pursuit{route: r, reign: g, addr: addr})
}

// offer has the kernel lead to the leader of a reign, if it is still the present one.
func (r *route) offer(g *reign, addr netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reign == g && !r.closed {
		r.lane.offer(addr)
	}
}

// fill says whether user space is to take every new connection.
func (r *route) fill(full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.lane.lanes == nil || r.lane.full == full {
		return
	}
	r.lane.full = full
	if full {
		r.lane.hold()
	} else {
		r.pursue(r.reign)
	}
	r.logger().Info("sessions counted", "in_kernel", r.led.Load(), "in_user_space", r.clients.Load(), "kernel_leads_new", !full)
}

// isFull reports what fill has said.
func (r *route) isFull() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lane.full
}

// suspect has the leader looked at if the kernel has seen a reason to, before a
// connection goes there: one that the kernel would have led, had it seen none.
func (r *route) suspect() {
	r.mu.Lock()
	l, g := r.lane, r.reign
	r.mu.Unlock()
	if l.lanes != nil && g.isReady() && l.kernel.Doubted(l.port) {
		r.doubt(g)
	}
}
