package broker

import (
	"cmp"
	"slices"
	"time"

	"github.com/pgpatron/pgpatron/broker/authority"
	"github.com/pgpatron/pgpatron/state"
)

// newAuthority makes an authority whose key nobody but brokers can open.
func (c *certifier) newAuthority() (state.Authority, error) {
	a, err := authority.New(time.Now())
	if err != nil {
		return state.Authority{}, err
	}
	pair, err := a.Pair()
	if err != nil {
		return state.Authority{}, err
	}
	id := authority.ID(pair.Certificate)
	sealed, by := c.ring.Seal(pair.Key, state.AuthorityPlace(id))
	return state.Authority{
		ID: id, Certificate: pair.Certificate, Sealed: sealed, SealedBy: by, Created: pair.Created, Expires: pair.Expires,
	}, nil
}

// sign writes a new certificate for a node, unless it has a good one or nobody can
// sign yet.
func (c *certifier) sign(tx *state.Tx, id string, n state.Node) error {
	ca, _, err := state.Load(tx, state.SiteCAKey(), state.JSON[state.SiteCA])
	if err != nil {
		return err
	}
	has, _, err := state.Load(tx, state.CertificateKey(id, n.NodeID), state.JSON[state.Certificate])
	if err != nil {
		return err
	}
	signer, made := ca.Signing()
	now, names := time.Now(), c.names(n)
	if !made || authority.IsGood(has, ca, names, now) {
		return nil
	}
	pair, err := c.issue(signer, names, now)
	if err != nil {
		return err
	}
	tx.PutJSON(state.CertificateKey(id, n.NodeID), state.Certificate{
		Version: state.RecordVersion, InstanceID: id, NodeID: n.NodeID,
		Certificate: pair.Certificate, PrivateKey: pair.Key,
		Signer: signer.ID, Names: names, Created: pair.Created, Expires: pair.Expires,
	})
	return nil
}

func (c *certifier) issue(signer state.Authority, names []string, now time.Time) (authority.Pair, error) {
	key, err := c.ring.Open(signer.Sealed, signer.SealedBy, state.AuthorityPlace(signer.ID))
	if err != nil {
		return authority.Pair{}, err
	}
	a, err := authority.Open(signer.Certificate, key)
	if err != nil {
		return authority.Pair{}, err
	}
	return a.Issue(names, now)
}

// names are the hosts by which a node's server is reached: the routers', which
// users are told, and its own.
func (c *certifier) names(n state.Node) []string {
	names := []string{c.host, cmp.Or(c.tables.addressOf(n.BackendID), n.BackendID)}
	slices.Sort(names)
	return slices.Compact(names)
}
