package kernel

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"
)

// again is when flows that were cut are poked again: a poke may be lost, and
// nothing else repeats it.
var again = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second}

// wave does what was ordered, for all ports at once, in an order that is as
// important as the steps: nothing new goes to the old leader; what goes there is
// frozen, so that the marks stand still; every flow is ended; and only when there
// is none left may the new leader have the port.
func (p *Plane) wave() error {
	orders, settled := p.take()
	for port, all := range orders {
		for _, o := range all {
			p.ledger.note(port, o)
		}
		if _, cutting := p.ledger.cutting[port]; !cutting {
			p.ending.remove(port)
		}
	}
	if settled {
		if err := p.settle(); err != nil {
			p.Settle() // again
			return err
		}
	}
	touched := append(ports(p.ledger.cutting), slices.Collect(maps.Keys(orders))...)
	if p.mended {
		touched = slices.Collect(maps.Keys(p.ledger.led))
	}
	stopped, err := p.freeze(slices.Values(touched))
	if err != nil {
		return err
	}
	p.mended = false
	for port := range stopped {
		p.leading.remove(port)
	}
	if err := p.sweep(); err != nil {
		return err
	}
	return p.lead()
}

// settle has everything cut that nobody wants.
func (p *Plane) settle() error {
	p.ledger.disown()
	strays, err := p.tracker.led(families, p.ledger.strayed)
	if err != nil {
		return err
	}
	for _, f := range strays {
		p.ledger.cutting[f.port()] = struct{}{}
	}
	return nil
}

// freeze stops leading where it is wrong, and stops every flow of the ports that
// are to be cut. It returns what it has stopped.
func (p *Plane) freeze(touched iter.Seq[uint16]) (leads, error) {
	misled := p.ledger.misled(touched)
	cutting := ports(p.ledger.cutting)
	err := p.edit(func(e edit) error {
		return errors.Join(e.stop(e.table.own(misled)), e.put(e.table.cut, cutting))
	})
	if err != nil {
		return nil, fmt.Errorf("taking leaders away: %w", err)
	}
	for port := range misled {
		delete(p.ledger.led, port)
		if p.ledger.wanted[port].IsValid() {
			p.ledger.pending[port] = struct{}{}
		}
	}
	return misled, nil
}

// sweep ends flows of the ports that are to be cut until there are none. New
// orders interrupt it: their ports must be frozen first.
func (p *Plane) sweep() error {
	for len(p.ledger.cutting) > 0 {
		flows, err := p.tracker.led(p.ledger.cuttingFamilies(), p.ledger.isCut)
		if err != nil {
			return err
		}
		p.thaw(flows)
		if err := p.end(flows); err != nil {
			return err
		}
		if len(p.wake) > 0 {
			return nil
		}
	}
	return nil
}

// thaw takes the ports without a flow for done. The kernel is told with the next
// change: there is nothing to be frozen.
func (p *Plane) thaw(flows []flow) {
	busy := map[uint16]struct{}{}
	for _, f := range flows {
		busy[f.port()] = struct{}{}
	}
	for port := range p.ledger.cutting {
		if _, ok := busy[port]; !ok {
			delete(p.ledger.cutting, port)
			p.ending.remove(port)
			p.ledger.frozen[port] = p.ledger.last[port]
			delete(p.ledger.last, port)
		}
	}
}

// end has both ends of frozen flows let go, clients first, and deletes them.
// Whatever an end sends meanwhile is answered with a reset: by the rules while its
// flow is there, by this host's kernel later.
func (p *Plane) end(flows []flow) error {
	if len(flows) == 0 {
		return nil
	}
	began := time.Now()
	p.poke(flows, p.poker.resetClient)
	p.poke(flows, p.poker.challengeServer)
	for _, f := range flows {
		if err := p.tracker.remove(f); err != nil {
			return err
		}
	}
	p.poke(flows, p.poker.challengeClient)
	p.log.Info("connections cut in the kernel", "connections", len(flows), "took", time.Since(began))
	for _, after := range again {
		p.repeats = append(p.repeats, repeat{due: time.Now().Add(after), flows: flows})
	}
	return nil
}

// pokeAgain sends the pokes that are due and returns when the next ones are.
func (p *Plane) pokeAgain(now time.Time) time.Duration {
	wait := time.Hour
	p.repeats = slices.DeleteFunc(p.repeats, func(r repeat) bool {
		if r.due.After(now) {
			wait = min(wait, r.due.Sub(now))
			return false
		}
		p.poke(r.flows, p.poker.resetClient)
		p.poke(r.flows, p.poker.challengeServer)
		return true
	})
	return wait
}

// poke sends one poke for each flow. Some may fail, as those to hosts that are
// gone: nobody is left there to be told.
func (p *Plane) poke(flows []flow, send func(flow) error) {
	for _, f := range flows {
		if err := send(f); err != nil {
			p.log.Debug("ending a connection", "port", f.port(), "err", err)
		}
	}
}

// lead gives the ports that wait for it to their leaders.
func (p *Plane) lead() error {
	now := time.Now()
	to := leads{}
	for port := range p.ledger.pending {
		addr := p.ledger.wanted[port]
		if _, cutting := p.ledger.cutting[port]; !cutting && p.paths.carries(addr, now) {
			to[port] = addr
		}
	}
	thawed := slices.Collect(maps.Keys(p.ledger.frozen))
	if len(to) == 0 && len(thawed) == 0 {
		return nil
	}
	retired := p.ledger.retired()
	for port := range to {
		p.leading.add(port)
	}
	err := p.edit(func(e edit) error {
		to := e.table.own(to)
		return errors.Join(e.remove(e.table.cut, thawed), e.dismiss(e.table.own(retired)), e.know(to), e.serve(to), e.lead(to))
	})
	if err != nil {
		return fmt.Errorf("giving ports to leaders: %w", err)
	}
	clear(p.ledger.frozen)
	for port, addr := range to {
		p.ledger.led[port], p.ledger.last[port] = addr, addr
		p.ledger.known[port] = struct{}{}
		delete(p.ledger.pending, port)
	}
	return nil
}

// edit changes both tables.
func (p *Plane) edit(change func(edit) error) error {
	for _, f := range families {
		if err := change(edit{conn: p.conn, table: p.tables[f]}); err != nil {
			return err
		}
	}
	return p.conn.Flush()
}

// know makes ports known to every set that lasts.
func (e edit) know(to leads) error {
	for _, s := range e.table.lasting() {
		if err := e.put(s, slices.Collect(maps.Keys(to))); err != nil {
			return err
		}
	}
	return nil
}

// own returns what of some leads is of this table's family.
func (t *table) own(all leads) leads {
	some := leads{}
	for port, addr := range all {
		if familyOf(addr.Addr()) == t.family {
			some[port] = addr
		}
	}
	return some
}
