package patroni

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"net/url"

	"go.yaml.in/yaml/v3"

	"github.com/pgpatron/pgpatron/state"
)

// Addresses are where the world reaches a node: what is announced of its two
// internal ports.
type Addresses struct {
	PostgreSQL netip.AddrPort
	REST       netip.AddrPort
}

// Paths are where a node keeps its files.
type Paths struct {
	// Run holds patroni.yml and pgpass: made anew at every start, private.
	Run string
	// Data is PostgreSQL's data directory.
	Data string
	// Bin holds PostgreSQL's programs.
	Bin string
	// IsReady is called for pg_isready. Default: Bin's.
	IsReady string
	// Sockets holds PostgreSQL's Unix socket.
	Sockets string
	// PostBootstrap is the command that Patroni runs, followed by a connection
	// string, once it has made a new cluster: see PostBootstrap.
	PostBootstrap string
}

// Config is Patroni's configuration file. Its keys are those of Patroni 4.0;
// NewConfig fills it for a node.
type Config struct {
	Scope      quoted           `yaml:"scope"`
	Namespace  string           `yaml:"namespace"`
	Name       quoted           `yaml:"name"`
	RESTAPI    restAPIConfig    `yaml:"restapi"`
	Etcd3      etcdConfig       `yaml:"etcd3"`
	Bootstrap  bootstrapConfig  `yaml:"bootstrap"`
	PostgreSQL postgresqlConfig `yaml:"postgresql"`
	// Tags are told of the member in etcd.
	Tags map[string]quoted `yaml:"tags,omitempty"`
	// Watchdog is off: containers have no such device.
	Watchdog map[string]string `yaml:"watchdog"`
}

type restAPIConfig struct {
	Listen         string `yaml:"listen"`
	ConnectAddress string `yaml:"connect_address"`
	Authentication login  `yaml:"authentication"`
	// Also is another login, as user:password, that is let in (patroni_passwords.py).
	Also quoted `yaml:"also,omitempty"`
}

type etcdConfig struct {
	Protocol string   `yaml:"protocol"`
	Hosts    []string `yaml:"hosts"`
	// UseProxies keeps Patroni to Hosts. Otherwise it replaces them by what
	// etcd's members advertise, which a container may be unable to reach.
	UseProxies bool   `yaml:"use_proxies"`
	Username   quoted `yaml:"username,omitempty"`
	Password   quoted `yaml:"password,omitempty"`
	CACert     string `yaml:"cacert,omitempty"`
	Cert       string `yaml:"cert,omitempty"`
	Key        string `yaml:"key,omitempty"`
}

type bootstrapConfig struct {
	DCS           DynamicConfig `yaml:"dcs"`
	InitDB        []any         `yaml:"initdb"`
	PostBootstrap string        `yaml:"post_bootstrap"`
}

// DynamicConfig is the part of the configuration that all members share, kept
// in etcd: bootstrap.dcs makes it, Client.PatchConfig changes it.
type DynamicConfig struct {
	// TTL, LoopWait and RetryTimeout are in seconds. LoopWait plus twice
	// RetryTimeout must not exceed TTL; 20 is the least TTL that Patroni takes.
	TTL          int `yaml:"ttl"`
	LoopWait     int `yaml:"loop_wait"`
	RetryTimeout int `yaml:"retry_timeout"`
	// MaximumLagOnFailover is MaximumLag.
	MaximumLagOnFailover int `yaml:"maximum_lag_on_failover"`
	// FailsafeMode lets a leader that reaches all members go on without etcd.
	FailsafeMode    bool `yaml:"failsafe_mode"`
	SynchronousMode bool `yaml:"synchronous_mode"`
	// SynchronousModeStrict would refuse writes while no standby is left.
	SynchronousModeStrict bool `yaml:"synchronous_mode_strict"`
	// PrimaryStartTimeout is how many seconds a dead PostgreSQL of the leader
	// may take to come back before another member takes over. 0: no time at
	// all, which loses nothing only if a synchronous standby has everything.
	PrimaryStartTimeout int               `yaml:"primary_start_timeout"`
	PostgreSQL          dynamicPostgreSQL `yaml:"postgresql"`
}

type dynamicPostgreSQL struct {
	UsePgRewind bool           `yaml:"use_pg_rewind"`
	UseSlots    bool           `yaml:"use_slots"`
	Parameters  map[string]any `yaml:"parameters"`
}

type postgresqlConfig struct {
	Listen            string            `yaml:"listen"`
	ConnectAddress    string            `yaml:"connect_address"`
	DataDir           string            `yaml:"data_dir"`
	BinDir            string            `yaml:"bin_dir"`
	BinName           map[string]string `yaml:"bin_name,omitempty"`
	PgPass            string            `yaml:"pgpass"`
	UseUnixSocket     bool              `yaml:"use_unix_socket"`
	UseUnixSocketRepl bool              `yaml:"use_unix_socket_repl"`
	Authentication    authentication    `yaml:"authentication"`
	PgHBA             []string          `yaml:"pg_hba"`
	BaseBackup        []map[string]any  `yaml:"basebackup"`
	// Parameters belong to this node: they win over the shared ones.
	Parameters map[string]any `yaml:"parameters"`
}

type authentication struct {
	Superuser   login `yaml:"superuser"`
	Replication login `yaml:"replication"`
	Rewind      login `yaml:"rewind"`
}

type login struct {
	Username quoted `yaml:"username"`
	Password quoted `yaml:"password"`
}

func loginOf(c state.Credentials) login {
	return login{Username: quoted(c.Username), Password: quoted(c.Password.Reveal())}
}

// quoted is a string that stays one whatever it looks like: Patroni reads YAML
// 1.1, where more plain words and digits mean something else. It may hold a
// secret, so it prints as nothing.
type quoted string

// MarshalYAML writes the string between double quotes.
func (q quoted) MarshalYAML() (any, error) {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: string(q)}, nil
}

// String hides the string from fmt.
func (q quoted) String() string { return "[redacted]" }

// GoString hides the string from %#v.
func (q quoted) GoString() string { return q.String() }

// NewConfig returns Patroni's configuration for a node whose addresses are
// announced as addrs.
func NewConfig(node NodeConfig, tls ServerTLS, addrs Addresses, paths Paths) (Config, error) {
	etcd, err := newEtcdConfig(node, paths)
	if err != nil {
		return Config{}, err
	}
	return Config{
		Scope:     quoted(state.Segment(node.InstanceID)),
		Namespace: state.ServicePrefix,
		Name:      quoted(node.NodeID),
		RESTAPI: restAPIConfig{
			Listen:         fmt.Sprintf("0.0.0.0:%d", RESTPort),
			ConnectAddress: addrs.REST.String(),
			Authentication: loginOf(node.REST),
		},
		Etcd3: etcd,
		Bootstrap: bootstrapConfig{
			DCS: NewDynamicConfig(node.Synchronous),
			// The builtin collation does not change with the image's libc, so
			// no index goes stale by an update.
			InitDB: []any{
				map[string]string{"encoding": "UTF8"},
				map[string]string{"locale-provider": "builtin"},
				map[string]string{"locale": "C.UTF-8"},
				map[string]string{"auth": "scram-sha-256"},
				"data-checksums",
				"no-instructions",
			},
			PostBootstrap: paths.PostBootstrap,
		},
		PostgreSQL: newPostgreSQLConfig(node, tls, addrs, paths),
		Tags:       tls.tags(),
		Watchdog:   map[string]string{"mode": "off"},
	}, nil
}

// use gives the configuration the passwords that a node has by now, and has the
// member tell of them.
func (cfg *Config) use(k keys) {
	logins := k.given.Logins
	cfg.RESTAPI.Authentication = loginOf(logins.REST)
	if spare := k.given.Spare.REST; spare.Password != "" {
		cfg.RESTAPI.Also = quoted(spare.Username + ":" + spare.Password.Reveal())
	}
	replication := loginOf(k.replication())
	cfg.PostgreSQL.Authentication = authentication{Superuser: loginOf(logins.Superuser), Replication: replication, Rewind: replication}
	tags := map[string]quoted{}
	maps.Copy(tags, cfg.Tags)
	for name, value := range PasswordTags(k.given.Edition, k.has) {
		tags[name] = quoted(value)
	}
	cfg.Tags = tags
}

// MaximumLag is how many bytes of WAL a replica may be behind and still become leader of an
// asynchronous cluster: what such a cluster may lose by a failover.
const MaximumLag = 1 << 20

// NewDynamicConfig returns what the members of a cluster share.
func NewDynamicConfig(synchronous bool) DynamicConfig {
	cfg := DynamicConfig{
		TTL:                  20,
		LoopWait:             2,
		RetryTimeout:         5,
		MaximumLagOnFailover: MaximumLag,
		FailsafeMode:         true,
		SynchronousMode:      synchronous,
		PrimaryStartTimeout:  300,
		PostgreSQL: dynamicPostgreSQL{
			UsePgRewind: true,
			UseSlots:    true,
			Parameters: map[string]any{
				"wal_level":             "replica",
				"hot_standby":           "on",
				"wal_log_hints":         "on",
				"max_connections":       100,
				"max_wal_senders":       10,
				"max_replication_slots": 10,
				// The broker gets in even when applications hold all the rest.
				"reserved_connections": 5,
				"password_encryption":  "scram-sha-256",
				// A replica that finds its leader not ready asks again soon.
				"wal_retrieve_retry_interval": "500ms",
				// A standby that is cut off is noticed soon: until then commits wait for it.
				"wal_sender_timeout": "5s",
				"log_line_prefix":    "%m [%p] %q%u@%d ",
				// A statement, a value or a context in the log may carry a
				// password that a user is just setting.
				"log_statement":                     "none",
				"log_min_duration_statement":        -1,
				"log_min_error_statement":           "panic",
				"log_error_verbosity":               "terse",
				"log_parameter_max_length":          0,
				"log_parameter_max_length_on_error": 0,
			},
		},
	}
	if synchronous {
		cfg.PrimaryStartTimeout = 0
	}
	return cfg
}

func newEtcdConfig(node NodeConfig, paths Paths) (etcdConfig, error) {
	files := node.EtcdTLS.files(paths.Run)
	cfg := etcdConfig{
		UseProxies: true, CACert: files.ca, Cert: files.cert, Key: files.key,
		Username: quoted(node.EtcdLogin.Username), Password: quoted(node.EtcdLogin.Password.Reveal()),
	}
	for _, endpoint := range node.Etcd {
		u, err := url.Parse(endpoint)
		if err != nil {
			return etcdConfig{}, fmt.Errorf("etcd endpoint: %w", err)
		}
		cfg.Protocol = u.Scheme
		cfg.Hosts = append(cfg.Hosts, u.Host)
	}
	return cfg, nil
}

func newPostgreSQLConfig(node NodeConfig, tls ServerTLS, addrs Addresses, paths Paths) postgresqlConfig {
	cfg := postgresqlConfig{
		Listen:            fmt.Sprintf("0.0.0.0:%d", PostgreSQLPort),
		ConnectAddress:    addrs.PostgreSQL.String(),
		DataDir:           paths.Data,
		BinDir:            paths.Bin,
		PgPass:            paths.Run + "/pgpass",
		UseUnixSocket:     true,
		UseUnixSocketRepl: true,
		Authentication: authentication{
			Superuser:   loginOf(node.Superuser),
			Replication: loginOf(node.Replication),
			// Patroni grants what pg_rewind needs to this role.
			Rewind: loginOf(node.Replication),
		},
		PgHBA: hostBasedAuthentication(node, tls),
		// A spread checkpoint takes minutes.
		BaseBackup: []map[string]any{{"checkpoint": "fast"}},
		Parameters: memoryParameters(node.MemoryMB),
	}
	cfg.Parameters["unix_socket_directories"] = paths.Sockets
	maps.Copy(cfg.Parameters, tls.parameters(paths.Run))
	if paths.IsReady != "" {
		cfg.BinName = map[string]string{"pg_isready": paths.IsReady}
	}
	return cfg
}

// hostBasedAuthentication returns the lines of pg_hba.conf, of which the first
// that matches counts. The superuser comes in over the local socket alone, known by
// the process, which is of the same user, so that no change of his password can lock
// Patroni out; and the replication role over the network only to follow and to rewind, which
// libpq does over TLS where the leader speaks it. Where TLS is required the admin
// may still do without: whoever watches over the node asks from its own host, and
// must not ask twice.
func hostBasedAuthentication(node NodeConfig, tls ServerTLS) []string {
	const method = "scram-sha-256"
	super, replication := node.Superuser.Username, node.Replication.Username
	lines := []string{
		"local all " + super + " peer",
		"local all all " + method,
		"local replication " + replication + " " + method,
		"host replication " + replication + " all " + method,
		"host postgres " + replication + " all " + method,
		"host all " + super + "," + replication + " all reject",
	}
	if tls.On() && tls.Required {
		return append(lines,
			"hostssl all all all "+method,
			"hostnossl all "+node.Admin.Username+" all "+method,
			"hostnossl all all all reject",
		)
	}
	return append(lines, "host all all all "+method)
}

// memoryParameters shares out a container's memory as PostgreSQL's manual
// recommends: a quarter for shared buffers, and the planner told that half is
// there to cache files.
func memoryParameters(memoryMB int) map[string]any {
	if memoryMB == 0 {
		return map[string]any{}
	}
	megabytes := func(n int) string { return fmt.Sprintf("%dMB", n) }
	return map[string]any{
		"shared_buffers":       megabytes(max(memoryMB/4, 16)),
		"effective_cache_size": megabytes(max(memoryMB/2, 16)),
		"maintenance_work_mem": megabytes(min(max(memoryMB/16, 16), 1024)),
	}
}

// YAML returns the configuration file. It holds passwords.
func (cfg Config) YAML() ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(cfg); err != nil {
		return nil, fmt.Errorf("encoding patroni.yml: %w", err)
	}
	return b.Bytes(), enc.Close()
}
