package kernel

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/nftables"
)

// restore makes the tables as they must be and takes in what they hold: at the
// start what an earlier process has left, later what somebody else has.
func (p *Plane) restore() error {
	if p.conn != nil {
		// Answers to an edit that failed may still wait on it.
		_ = p.conn.CloseLasting()
	}
	var err error
	if p.conn, err = dialNftables(); err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	if err := p.declare(); err != nil {
		return fmt.Errorf("making the rules: %w", err)
	}
	return p.reread()
}

// declare makes the tables. Those of another version of this program, which
// nftables refuses to make into ours, are replaced.
func (p *Plane) declare() error {
	err := p.edit(func(e edit) error { return e.table.declare(e.conn) })
	if err == nil {
		return nil
	}
	for _, t := range p.tables {
		p.conn.AddTable(t.nft)
		p.conn.DelTable(t.nft)
	}
	return p.edit(func(e edit) error { return e.table.declare(e.conn) })
}

// reread brings the ledger up to date with the tables.
func (p *Plane) reread() error {
	before := maps.Clone(p.ledger.led)
	clear(p.ledger.led)
	for _, t := range p.tables {
		led, err := t.led(p.conn)
		if err != nil {
			return err
		}
		maps.Copy(p.ledger.led, led)
		if err := p.rereadSets(t); err != nil {
			return err
		}
	}
	for port := range p.ledger.led {
		p.leading.add(port)
	}
	p.ledger.recover(before)
	return nil
}

func (p *Plane) rereadSets(t *table) error {
	known, err := members(p.conn, t.ports)
	if err != nil {
		return err
	}
	cutting, err := members(p.conn, t.cut)
	if err != nil {
		return err
	}
	for _, port := range known {
		p.ledger.known[port] = struct{}{}
	}
	for _, port := range cutting {
		p.ledger.cutting[port] = struct{}{}
	}
	return nil
}

// look asks the kernel for trouble that it has seen.
func (p *Plane) look(now time.Time) error {
	for _, t := range p.tables {
		doubted, err := members(p.conn, t.doubted)
		if err != nil {
			return err
		}
		failed, err := members(p.conn, t.failed)
		if err != nil {
			return err
		}
		if len(doubted) > 0 || len(failed) > 0 {
			if err := p.doubt(t, doubted, failed, now); err != nil {
				return err
			}
		}
	}
	if err := p.paths.survey(p.conn, now); err != nil {
		return err
	}
	if p.paths.changed(now) {
		return p.lead()
	}
	return nil
}

// doubt has the leaders of ports looked at. What the kernel has noted is only
// taken back once no connection is led there, so that nothing noted from now on is lost.
func (p *Plane) doubt(t *table, doubted, failed []uint16, now time.Time) error {
	for _, port := range failed {
		p.paths.fail(p.ledger.last[port], port, now)
	}
	all := slices.Concat(doubted, failed)
	for _, port := range all {
		p.ledger.note(port, order{})
	}
	if _, err := p.freeze(slices.Values(all)); err != nil {
		return err
	}
	if err := p.forgetUnanswered(failed); err != nil {
		return err
	}
	e := edit{conn: p.conn, table: t}
	if err := errors.Join(e.remove(t.doubted, doubted), e.remove(t.failed, failed), p.conn.Flush()); err != nil {
		return err
	}
	for _, port := range all {
		p.cfg.Doubted(port)
		p.leading.remove(port)
	}
	return nil
}

// forgetUnanswered deletes the flows of ports that no leader has answered: the
// next packet of their clients reaches user space.
func (p *Plane) forgetUnanswered(of []uint16) error {
	if len(of) == 0 {
		return nil
	}
	flows, err := p.tracker.led(families, func(f flow) bool {
		return f.Status&seenReply == 0 && slices.Contains(of, f.port())
	})
	for _, f := range flows {
		err = errors.Join(err, p.tracker.remove(f))
	}
	return err
}

// warnWhenFull tells, once, that this host will soon take no new connections.
func (p *Plane) warnWhenFull() {
	entries, limit, err := Tracked()
	full := err == nil && entries > limit/10*9
	if full && !p.full {
		p.log.Warn("this host tracks almost as many connections as it can; at the limit it takes no new ones, led or not",
			"entries", entries, "limit", limit, "mend", fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d", 2*limit))
	}
	p.full = full
}

// verify compares the tables with the ledger. A chain or an element that somebody
// has taken away comes back.
func (p *Plane) verify() error {
	for _, t := range p.tables {
		led, err := t.led(p.conn)
		if err != nil {
			return err
		}
		if !maps.Equal(led, t.own(p.ledger.led)) {
			return errors.New("somebody else has changed where ports lead")
		}
		if err := t.verifyChains(p.conn); err != nil {
			return err
		}
	}
	return nil
}

// verifyChains counts the chains. (The rules in them are not read: the library
// does not understand what the kernel says of some of ours.)
func (t *table) verifyChains(c *nftables.Conn) error {
	all, err := c.ListChainsOfTableFamily(t.family.nft)
	if err != nil {
		return fmt.Errorf("reading chains: %w", err)
	}
	n := 0
	for _, chain := range all {
		if chain.Table.Name == tableName {
			n++
		}
	}
	if want := len(t.chains()); n != want {
		return fmt.Errorf("somebody else has changed table %s: it has %d chains, not %d", tableName, n, want)
	}
	return nil
}
