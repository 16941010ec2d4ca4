package patroni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

	"github.com/pgpatron/pgpatron/state"
)

// NodeConfig is node.json: all that a node must be told, secrets included. The
// registrar writes it into the node's volume before the container starts.
type NodeConfig struct {
	// InstanceID is the id of the instance that the cluster serves. Escaped by
	// state.Segment it is the cluster's Patroni scope.
	InstanceID string `json:"instance_id"`
	// NodeID is the node's Patroni member name.
	NodeID string `json:"node_id"`
	// Image, Hostname and Container are what the node's addresses are announced
	// under: the same arguments that the announcer gives to
	// state.AnnouncementKey.
	Image     string `json:"image"`
	Hostname  string `json:"hostname"`
	Container string `json:"container"`
	// Etcd are the client URLs of etcd as the container reaches them.
	Etcd []string `json:"etcd"`
	// EtcdLogin is the etcd user that the node logs in as; empty: none.
	EtcdLogin state.Credentials `json:"etcd_login,omitzero"`
	// EtcdTLS is what a node needs where the URLs are https.
	EtcdTLS EtcdTLS `json:"etcd_tls,omitzero"`

	// Superuser is Patroni's own login. It is refused over the network.
	Superuser state.Credentials `json:"superuser"`
	// Replication is what replicas follow and rewind with.
	Replication state.Credentials `json:"replication"`
	// Admin is the broker's login: it makes the roles of bindings.
	Admin state.Credentials `json:"admin"`
	// REST guards the unsafe methods of Patroni's REST API.
	REST state.Credentials `json:"rest"`
	// Owner is the role, without a login, that owns what bindings create.
	Owner string `json:"owner"`
	// Database is the name of the database that bindings log in to.
	Database string `json:"database"`

	// Synchronous says that the leader acknowledges a write only when a standby
	// has it. It counts when the cluster is made; later Patroni's dynamic
	// configuration does.
	Synchronous bool `json:"synchronous"`
	// MemoryMB is the container's memory limit in MiB, by which PostgreSQL's
	// memory is set. 0: no limit is known, PostgreSQL's defaults hold.
	MemoryMB int `json:"memory_mb"`
}

// ReadNodeConfig reads and validates a node.json. Unknown fields are refused.
func ReadNodeConfig(path string) (NodeConfig, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return NodeConfig{}, err
	}
	cfg, err := decodeNodeConfig(b)
	if err != nil {
		return NodeConfig{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return cfg, nil
}

func decodeNodeConfig(b []byte) (NodeConfig, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var cfg NodeConfig
	if err := dec.Decode(&cfg); err != nil {
		return NodeConfig{}, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return NodeConfig{}, errors.New("more than one JSON value")
	}
	return cfg, cfg.Validate()
}

// Validate reports every problem at once, each naming its key.
func (cfg NodeConfig) Validate() error {
	var errs []error
	for _, field := range []struct{ key, value string }{
		{"instance_id", cfg.InstanceID},
		{"node_id", cfg.NodeID},
		{"image", cfg.Image},
		{"hostname", cfg.Hostname},
		{"container", cfg.Container},
	} {
		if field.value == "" {
			errs = append(errs, fmt.Errorf("%s: must be set", field.key))
		}
	}
	if cfg.MemoryMB < 0 {
		errs = append(errs, fmt.Errorf("memory_mb: must not be negative, got %d", cfg.MemoryMB))
	}
	return errors.Join(append(append(errs, cfg.validateEtcd()...), cfg.validateDatabase()...)...)
}

func (cfg NodeConfig) validateEtcd() []error {
	if len(cfg.Etcd) == 0 {
		return []error{errors.New("etcd: must name at least one URL")}
	}
	var errs []error
	if (cfg.EtcdLogin.Username == "") != (cfg.EtcdLogin.Password == "") {
		errs = append(errs, errors.New("etcd_login: a username needs a password, and a password a username"))
	}
	if (cfg.EtcdTLS.Cert == "") != (cfg.EtcdTLS.Key == "") {
		errs = append(errs, errors.New("etcd_tls: a certificate needs its key, and a key its certificate"))
	}
	for _, endpoint := range cfg.Etcd {
		u, err := url.Parse(endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" || u.User != nil {
			errs = append(errs, fmt.Errorf("etcd: %q is not a URL like http://host:2379", endpoint))
			continue
		}
		if first, _ := url.Parse(cfg.Etcd[0]); first != nil && u.Scheme != first.Scheme {
			errs = append(errs, fmt.Errorf("etcd: %q and %q differ in scheme", cfg.Etcd[0], endpoint))
		}
	}
	return errs
}

// validateDatabase checks logins and names. Passwords are never quoted.
func (cfg NodeConfig) validateDatabase() []error {
	var errs []error
	names := map[string]string{}
	name := func(key, value string) {
		if !validName(value) {
			errs = append(errs, fmt.Errorf("%s: %q is not 1 to 63 characters of a-z, 0-9 and _, beginning with a letter", key, value))
		}
		if other, taken := names[value]; taken && value != "" {
			errs = append(errs, fmt.Errorf("%s: %q is the name of %s, too", key, value, other))
		}
		names[value] = key
	}
	password := func(key string, p state.Secret) {
		if err := checkPassword(p.Reveal()); err != nil {
			errs = append(errs, fmt.Errorf("%s.password: %w", key, err))
		}
	}
	name("owner", cfg.Owner)
	for _, login := range []struct {
		key string
		state.Credentials
	}{
		{"superuser", cfg.Superuser},
		{"replication", cfg.Replication},
		{"admin", cfg.Admin},
	} {
		name(login.key+".username", login.Username)
		password(login.key, login.Password)
	}
	if cfg.REST.Username == "" {
		errs = append(errs, errors.New("rest.username: must be set"))
	}
	password("rest", cfg.REST.Password)
	if !validName(cfg.Database) || cfg.Database == "postgres" || cfg.Database == "template0" || cfg.Database == "template1" {
		errs = append(errs, fmt.Errorf("database: %q can not be the name of the application's database", cfg.Database))
	}
	return errs
}

// validName tells whether a role or a database can be called so. PostgreSQL
// would take more; what is ours stays free of quoting.
func validName(name string) bool {
	if name == "" || len(name) > 63 || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}
