package kernel

import "net/netip"

// Verify is what Run does every few seconds. It must not be called while Run runs.
func (p *Plane) Verify() error { return p.verify() }

// SendAcknowledgement sends a segment that acknowledges ack, from anybody to anybody.
func SendAcknowledgement(from, to netip.AddrPort, seq, acknowledged uint32) error {
	p, err := dialPoker()
	if err != nil {
		return err
	}
	defer p.close()
	return p.send(segment{from: from, to: to, seq: seq, ack: acknowledged, flags: ack})
}

// WhileCounting runs do while no count of flows comes to an end.
func (p *Plane) WhileCounting(do func()) {
	p.teller.mu.Lock()
	defer p.teller.mu.Unlock()
	do()
}
