package kernel

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// watchInterval is how often the kernel is asked whether something is wrong.
	watchInterval = 100 * time.Millisecond
	// verifyInterval is how often everything that is led is compared with what
	// should be.
	verifyInterval = 10 * time.Second
	// retryInterval is the pause after something went wrong.
	retryInterval = 250 * time.Millisecond
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
		if err != nil {
			p.log.Warn("leading in the kernel, will retry", "err", err)
			p.mend(ctx)
		}
		repeats.Reset(p.pokeAgain(time.Now()))
	}
	return errors.Join(p.leave(), p.close())
}

// mend brings tables and ledger together again, after a pause: whatever an edit
// that failed has left.
func (p *Plane) mend(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(retryInterval):
	}
	if err := p.restore(); err != nil {
		p.log.Warn("restoring rules, will retry", "err", err)
	}
	p.awake()
}

// leave ends what Run has begun.
func (p *Plane) leave() error {
	if p.cfg.LeaveRules {
		return nil
	}
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
