package broker

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/pgpatron/pgpatron/broker/authority"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/sealed"
)

const (
	// certifyInterval is how often every certificate is looked at, changed or not.
	certifyInterval = time.Hour
	// certifyRest is how long nothing is signed after a failure.
	certifyRest = time.Minute
	// replaceBefore is how long before its end an authority should be replaced.
	replaceBefore = 365 * 24 * time.Hour
	// signedAtOnce bounds what one Tick signs.
	signedAtOnce = 50
)

// certifier sees to it that the site has an authority, and each node a certificate
// that is good for the host that users are told and for the node's own.
type certifier struct {
	tables   *tables
	election *state.Election
	ring     *sealed.Ring
	host     string
	log      *slog.Logger

	// due are the instances to look at.
	due map[string]struct{}
	// next is when all are, in Unix nanoseconds. Any goroutine may read it.
	next atomic.Int64
	// rested is until when nothing is signed.
	rested time.Time
}

func newCertifier(cfg Config, t *tables, election *state.Election) *certifier {
	return &certifier{
		tables: t, election: election, ring: cfg.Seal, host: cfg.RouterHost, log: cfg.Log,
		due: map[string]struct{}{},
	}
}

// note takes in what has changed.
func (c *certifier) note() {
	for params := range c.tables.clusters.Changed() {
		c.due[params[0]] = struct{}{}
	}
	for params := range c.tables.certificates.Changed() {
		c.due[params[0]] = struct{}{}
	}
	for range c.tables.siteCA.Changed() {
		c.begin()
	}
}

// wait puts off what another broker does.
func (c *certifier) wait(now time.Time) { c.next.Store(now.Add(certifyInterval).UnixNano()) }

// begin has all certificates looked at.
func (c *certifier) begin() { c.next.Store(0) }

// overdue reports whether all certificates are to be looked at. Any goroutine may
// ask.
func (c *certifier) overdue(now time.Time) bool { return c.next.Load() <= now.UnixNano() }

// drive makes the authority, signs what is to be signed, and forgets what nodes
// that are gone have left.
func (c *certifier) drive(now time.Time) []state.Group {
	if now.Before(c.rested) {
		return nil
	}
	ca, made := c.tables.siteCA.Get()
	if !made {
		return []state.Group{c.group("make the site's authority", c.found)}
	}
	if c.overdue(now) {
		c.wait(now)
		c.warn(ca.Value, now)
		for e := range c.tables.clusters.All() {
			c.due[e.Params[0]] = struct{}{}
		}
	}
	var groups []state.Group
	for id := range c.due {
		if len(groups) >= signedAtOnce {
			break
		}
		todo := append(c.missing(id, ca.Value, now), c.leftover(id)...)
		if len(todo) == 0 {
			delete(c.due, id)
		}
		groups = append(groups, todo...)
	}
	return groups
}

// warn tells of an authority that has to be replaced: applications need time for it.
func (c *certifier) warn(ca state.SiteCA, now time.Time) {
	if signer, _ := ca.Signing(); signer.Expires.Sub(now) < replaceBefore {
		c.log.Warn("the authority of the databases' certificates ends, replace it with pgpatron ca rotate", "authority", signer.ID, "expires", signer.Expires)
	}
}

// missing returns what signs the certificates that an instance's nodes lack.
func (c *certifier) missing(id string, ca state.SiteCA, now time.Time) []state.Group {
	cluster, _ := c.tables.clusters.Get(id)
	var groups []state.Group
	for _, n := range cluster.Value.Nodes {
		has, _ := c.tables.certificates.Get(id, n.NodeID)
		if n.Removed || authority.IsGood(has.Value, ca, c.names(n), now) {
			continue
		}
		groups = append(groups, c.group("certificate of "+n.NodeID, func(tx *state.Tx) error {
			cluster, _, err := state.Load(tx, state.ClusterKey(id), state.JSON[state.Cluster])
			if err != nil {
				return err
			}
			if _, there := cluster.Node(n.NodeID); !there {
				return state.ErrSkip
			}
			return c.sign(tx, id, n)
		}))
	}
	return groups
}

// leftover returns what removes the certificates of nodes that no record has.
func (c *certifier) leftover(id string) []state.Group {
	cluster, _ := c.tables.clusters.Get(id)
	var groups []state.Group
	for e := range c.tables.certificates.Under(id) {
		node := e.Params[1]
		if _, there := cluster.Value.Node(node); there {
			continue
		}
		groups = append(groups, c.group("no certificate of "+node, func(tx *state.Tx) error {
			cluster, _, err := state.Load(tx, state.ClusterKey(id), state.JSON[state.Cluster])
			if _, there := cluster.Node(node); err != nil || there {
				return errors.Join(state.ErrSkip, err)
			}
			tx.Delete(state.CertificateKey(id, node))
			return nil
		}))
	}
	return groups
}

// group is one of the elected broker's. After one that fails the others wait, too.
func (c *certifier) group(name string, apply func(tx *state.Tx) error) state.Group {
	return state.Group{
		Name: name,
		Apply: func(tx *state.Tx) error {
			if err := c.election.Guard(tx); err != nil {
				return errors.Join(state.ErrSkip, err)
			}
			return apply(tx)
		},
		Done: func(err error) {
			if err == nil || errors.Is(err, state.ErrSkip) {
				return
			}
			c.log.Error("certificates can not be made, will retry", "wait", certifyRest, "err", err)
			c.rested = time.Now().Add(certifyRest)
			c.next.Store(c.rested.UnixNano())
		},
	}
}

// found makes the first authority.
func (c *certifier) found(tx *state.Tx) error {
	if _, made := tx.Get(state.SiteCAKey()); made {
		return state.ErrSkip
	}
	first, err := c.newAuthority()
	if err != nil {
		return err
	}
	ca, err := authority.Announce(state.SiteCA{}, first)
	if err == nil {
		tx.PutJSON(state.SiteCAKey(), ca)
	}
	return err
}
