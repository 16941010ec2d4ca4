package state

import "time"

// Loss is what a registrar tells in an etcd that has taken the place of its site's:
// one that was emptied, replaced or set back. Whoever came to that etcd afterwards
// can not know it. It is there until the records are, see pgpatron recover.
type Loss struct {
	Backend string `json:"backend"`
	// Site is the site whose records are missing; empty if it had no id.
	Site  string    `json:"site,omitempty"`
	Since time.Time `json:"since"`
}
