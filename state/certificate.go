package state

import "time"

// SiteCA is the certificate authority of a site's PostgreSQL servers. While it is
// replaced there are two: clients are to trust both, and one signs.
type SiteCA struct {
	Version int `json:"version"`
	// Authorities are those that clients are to trust, the oldest first.
	Authorities []Authority `json:"authorities"`
	// Signer is the ID of the one that signs.
	Signer string `json:"signer"`
}

// Authority is one certificate that others are signed with.
type Authority struct {
	// ID tells it from others: digits of its certificate's hash.
	ID string `json:"id"`
	// Certificate is PEM text.
	Certificate string `json:"certificate"`
	// Sealed is its private key, closed for AuthorityPlace by one of the brokers' seal
	// keys, which SealedBy names.
	Sealed   []byte    `json:"sealed"`
	SealedBy string    `json:"sealed_by,omitempty"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`
}

// AuthorityPlace is what the private key of the authority with this ID is sealed for.
func AuthorityPlace(id string) string { return SiteCAKey() + " " + id }

// Signing returns the authority that signs; there is none in a zero SiteCA.
func (c SiteCA) Signing() (Authority, bool) {
	for _, a := range c.Authorities {
		if a.ID == c.Signer {
			return a, true
		}
	}
	return Authority{}, false
}

// Bundle returns the certificates that clients are to trust, as PEM text.
func (c SiteCA) Bundle() string {
	var bundle string
	for _, a := range c.Authorities {
		bundle += a.Certificate
	}
	return bundle
}

// Certificate is what the PostgreSQL of one node shows to its clients.
type Certificate struct {
	Version    int    `json:"version"`
	InstanceID string `json:"instance_id"`
	NodeID     string `json:"node_id"`
	// Certificate and PrivateKey are PEM text.
	Certificate string `json:"certificate"`
	PrivateKey  Secret `json:"private_key"`
	// Signer is the ID of the authority that has signed it.
	Signer string `json:"signer"`
	// Names are the hosts that it is good for: names and addresses.
	Names   []string  `json:"names"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}
