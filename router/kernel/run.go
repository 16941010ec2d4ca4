package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
)

const (
	// watchInterval is how often the kernel is asked whether something is wrong.
	watchInterval = 100 * time.Millisecond
	// verifyInterval is how often everything that is led is compared with what
	// should be.
	verifyInterval = 10 * time.Second
	// The pauses after something went wrong, and went wrong again.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
	// farewell bounds the last wave.
	farewell = 10 * time.Second
)

// Run leads until ctx ends. Then, unless the rules are to be left, it cuts every
// connection and removes them. Whatever goes wrong meanwhile is tried again: what
// the kernel does not lead, user space does.
func (p *Plane) Run(ctx context.Context) error {
	watch := time.NewTicker(watchInterval)
	defer watch.Stop()
	repeats := time.NewTimer(time.Hour)
	defer repeats.Stop()
	failures := 0
	for verified := time.Now(); ctx.Err() == nil; {
		var err error
		select {
		case <-ctx.Done():
			continue
		case <-p.wake:
			err = p.wave()
		case now := <-watch.C:
			if err = p.look(now); err == nil && now.Sub(verified) > verifyInterval {
				verified = now
				p.warnWhenFull()
				err = p.verify()
			}
		case <-repeats.C:
		}
		if err == nil {
			failures = 0
		} else {
			p.log.Warn("leading in the kernel, will retry", "err", err)
			p.mend(ctx, failures)
			failures++
		}
		repeats.Reset(p.pokeAgain(time.Now()))
	}
	return errors.Join(p.leave(), p.close())
}

// mend brings tables and ledger together again, after a pause: whatever an edit
// that failed has left.
func (p *Plane) mend(ctx context.Context, failures int) {
	select {
	case <-ctx.Done():
	case <-time.After(min(firstRetry<<min(failures, 10), lastRetry)):
	}
	if err := p.restore(); err != nil {
		p.log.Warn("restoring rules, will retry", "err", err)
	}
	p.mended = true
	p.awake()
}

// leave ends what Run has begun.
func (p *Plane) leave() error {
	if p.cfg.LeaveRules {
		return nil
	}
	return p.clear()
}

// remove is leave for what somebody else has begun, if anybody has.
func (p *Plane) remove() (found bool, err error) {
	all, err := p.asker.ListTables()
	if err != nil {
		return false, fmt.Errorf("reading this host's tables: %w", err)
	}
	isOurs := func(t *nftables.Table) bool {
		return t.Name == tableName && (t.Family == ipv4.nft || t.Family == ipv6.nft)
	}
	if !slices.ContainsFunc(all, isOurs) {
		return false, nil
	}
	if err := p.restore(); err != nil {
		return true, err
	}
	return true, p.clear()
}

// clear cuts every connection and removes every rule.
func (p *Plane) clear() error {
	p.take() // what was ordered before is of no use now
	for port := range p.ledger.known {
		p.ledger.note(port, order{cut: true})
	}
	for deadline := time.Now().Add(farewell); ; {
		err := p.wave()
		if err == nil && len(p.ledger.cutting) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("%d ports still have connections", len(p.ledger.cutting)), err)
		}
	}
	if len(p.repeats) > 0 {
		<-time.After(again[0]) // one repetition is worth the wait
		p.pokeAgain(time.Now())
	}
	for _, t := range p.tables {
		p.conn.DelTable(t.nft)
	}
	return p.conn.Flush()
}
