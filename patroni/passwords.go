package patroni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/pgpatron/pgpatron/state"
)

// PasswordsFile is where a node finds its Passwords, if they are others than those
// that it was made with. It is a file beside NodeFile, with the same owner and
// mode, because they change while the node runs: one that gets SIGHUP reads it
// again.
const PasswordsFile = "/var/lib/postgresql/passwords.json"

// Passwords are the logins that a cluster has of its own, as a node is told them.
type Passwords struct {
	// Edition tells this telling from those before it. 0: the passwords are those of
	// the NodeConfig, and have never been replaced.
	Edition int `json:"edition"`
	// Logins are those that hold, or are to: the leader's node makes them so.
	Logins state.Logins `json:"logins"`
	// Spare are those that others may use, or the leader may have, while passwords
	// are replaced; otherwise there are none.
	Spare state.Logins `json:"spare,omitzero"`
}

// PasswordsOf returns what a cluster's nodes are told.
func PasswordsOf(c state.Cluster) Passwords {
	spare, _ := c.SpareLogins()
	return Passwords{Edition: c.LoginEdition, Logins: c.Logins(), Spare: spare}
}

// ReadPasswords reads a PasswordsFile. There may be none: then it is what the node
// was made with that counts.
func ReadPasswords(path string, node NodeConfig) (Passwords, error) {
	original := Passwords{Logins: state.Logins{
		Superuser: node.Superuser, Replication: node.Replication, Admin: node.Admin, REST: node.REST,
	}}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return original, nil
	}
	if err != nil {
		return Passwords{}, err
	}
	p, err := DecodePasswords(b)
	if err == nil {
		err = node.with(p.Logins).Validate()
	}
	if err != nil {
		return Passwords{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return p, nil
}

// DecodePasswords reads the content of a PasswordsFile.
func DecodePasswords(b []byte) (Passwords, error) { return state.JSON[Passwords](b) }

// Encode returns the content of a PasswordsFile, which is secret.
func (p Passwords) Encode() ([]byte, error) { return json.Marshal(p) }

// with returns the node with other passwords.
func (cfg NodeConfig) with(l state.Logins) NodeConfig {
	cfg.Superuser, cfg.Replication, cfg.Admin, cfg.REST = l.Superuser, l.Replication, l.Admin, l.REST
	return cfg
}

// noSet stands for the Set of logins that nobody has told of.
const noSet = -1

// The tags by which a member tells of its passwords: the edition that it was given,
// and the set that its server has.
const (
	editionTag = "pgpatron_passwords"
	setTag     = "pgpatron_passwords_set"
)

// PasswordEdition returns the Passwords.Edition that the member was given. A member
// of an image from before passwords could be replaced knows of none.
func (m Member) PasswordEdition() (edition int, known bool) { return m.numberTag(editionTag) }

// PasswordSet returns the Set of the logins that the member's server is known to
// have.
func (m Member) PasswordSet() (set int, known bool) { return m.numberTag(setTag) }

func (m Member) numberTag(name string) (int, bool) {
	text, _ := m.Tags[name].(string)
	n, err := strconv.Atoi(text)
	return n, err == nil
}

// PasswordTags are what a member tells that was given an edition, and whose server
// has the logins of a set.
func PasswordTags(edition, set int) map[string]string {
	tags := map[string]string{editionTag: strconv.Itoa(edition)}
	if set != noSet {
		tags[setTag] = strconv.Itoa(set)
	}
	return tags
}
