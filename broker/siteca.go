package broker

import (
	"context"
	"crypto/x509"
	"slices"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/broker/authority"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// SiteCA tells of the site's authority and of what servers show.
func (o operator) SiteCA(context.Context) (admin.SiteCA, error) {
	var shown admin.SiteCA
	o.engine.View(func() { shown = o.siteCAView() })
	return shown, nil
}

// ReplaceSiteCA takes the replacement of the authority a step further.
func (o operator) ReplaceSiteCA(ctx context.Context, step string) (admin.SiteCA, error) {
	steps := map[string]func(state.SiteCA) (state.SiteCA, error){
		"rotate": o.announce, "switch": authority.Switch, "retire": o.retire,
	}
	take, known := steps[step]
	if !known {
		return admin.SiteCA{}, admin.NotFound("step", step)
	}
	err := o.confirm(ctx, step+" the site's authority", isConflict, func(tx *state.Tx) error {
		ca, _, err := state.Load(tx, state.SiteCAKey(), state.JSON[state.SiteCA])
		if err != nil {
			return err
		}
		if ca, err = take(ca); err != nil {
			return conflict("%s", err)
		}
		tx.PutJSON(state.SiteCAKey(), ca)
		return nil
	})
	if err != nil {
		return admin.SiteCA{}, err
	}
	return o.SiteCA(ctx)
}

func (o operator) announce(ca state.SiteCA) (state.SiteCA, error) {
	next, err := o.driver.certifier.newAuthority()
	if err != nil {
		return ca, err
	}
	return authority.Announce(ca, next)
}

// retire ends the trust in the old authority, if no server lives by it any more.
func (o operator) retire(ca state.SiteCA) (state.SiteCA, error) {
	after, err := authority.Retire(ca)
	if err != nil {
		return ca, err
	}
	if waiting := o.tables.unchanged(ca); len(waiting) > 0 {
		return ca, conflict("%d nodes do not show a certificate of the new authority yet, such as %s", len(waiting), waiting[0])
	}
	return after, nil
}

// siteCAView shows the authority. Call it in View.
func (o operator) siteCAView() admin.SiteCA {
	ca, _ := o.tables.siteCA.Get()
	shown := admin.SiteCA{
		Phase: string(authority.PhaseOf(ca.Value)), Bundle: ca.Value.Bundle(),
		Authorities: []admin.Authority{}, Waiting: append([]string{}, o.tables.unchanged(ca.Value)...),
	}
	for _, a := range ca.Value.Authorities {
		shown.Authorities = append(shown.Authorities, admin.Authority{ID: a.ID, Signs: a.ID == ca.Value.Signer, Created: a.Created, Expires: a.Expires})
	}
	for c := range o.tables.certificates.All() {
		shown.Certificates++
		if shown.FirstExpires.IsZero() || c.Value.Expires.Before(shown.FirstExpires) {
			shown.FirstExpires = c.Value.Expires
		}
	}
	return shown
}

// unchanged returns the nodes that show, or may show, another certificate than one
// by who signs now: INSTANCE.NODE. One that speaks plain shows none, and one that is
// down gets its certificate before it starts.
func (t *tables) unchanged(ca state.SiteCA) []string {
	var nodes []string
	for c := range t.clusters.All() {
		for _, n := range c.Value.Nodes {
			if t.lags(c.Value.InstanceID, n.NodeID, ca) {
				nodes = append(nodes, c.Value.InstanceID+"."+n.NodeID)
			}
		}
	}
	slices.Sort(nodes)
	return nodes
}

func (t *tables) lags(id, node string, ca state.SiteCA) bool {
	member, _ := t.members.Get(id, node)
	has, _ := t.certificates.Get(id, node)
	shows := member.Value.CertificateTag()
	return shows != "" && (has.Value.Signer != ca.Signer || shows != patroni.CertificateTag(has.Value.Certificate))
}

// trust returns what clients of a cluster are to verify its servers by: the site's
// authorities, as PEM text. It is empty while one of its members speaks plain.
func (t *tables) trust(id string) string {
	members := 0
	for m := range t.members.Under(id) {
		if m.Value.CertificateTag() == "" {
			return ""
		}
		members++
	}
	ca, _ := t.siteCA.Get()
	if members == 0 {
		return ""
	}
	return ca.Value.Bundle()
}

// roots returns what the broker itself verifies servers by; nil: nothing.
func (b *Broker) roots() *x509.CertPool {
	var bundle string
	b.engine.View(func() {
		ca, _ := b.tables.siteCA.Get()
		bundle = ca.Value.Bundle()
	})
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(bundle)) {
		return nil
	}
	return pool
}
