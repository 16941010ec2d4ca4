package broker

import (
	"context"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/state"
)

// credentials are a binding's, in the words that buildpacks and drivers look
// for.
type credentials struct {
	URI      string   `json:"uri"`
	JDBCURL  string   `json:"jdbcUrl"`
	Host     string   `json:"host"`
	Hostname string   `json:"hostname"`
	Hosts    []string `json:"hosts"`
	Port     int      `json:"port"`
	Name     string   `json:"name"`
	Database string   `json:"database"`
	Username string   `json:"username"`
	Password string   `json:"password"`
	// ReadURI leads to replicas.
	ReadURI string `json:"read_uri,omitempty"`
	// CACertificate is what clients verify the servers by, as PEM text: the content
	// of a file for sslrootcert.
	CACertificate string `json:"ca_certificate,omitempty"`
}

// door is where users get into a cluster.
type door struct {
	host    string
	cluster state.Cluster
	// trust is what its servers are verified by, as PEM text; empty: they speak
	// plain.
	trust string
}

// credentials spells a login to a cluster at its public address; whatever
// is special in a URI is percent-encoded. A login that can only read is led to
// the replicas, where a port leads there. Only where TLS is required do the URIs
// speak of it: by themselves most drivers use it where they can, and a URI can not
// hold what verify-full needs.
func (d door) credentials(binding state.Binding, password state.Secret) credentials {
	cluster := d.cluster
	port := cluster.AllocatedPort
	if binding.ReadOnly && cluster.ReadOnlyPort != 0 {
		port = cluster.ReadOnlyPort
	}
	login := url.UserPassword(binding.Role, password.Reveal())
	options, jdbcOptions := url.Values{}, url.Values{"user": {binding.Role}, "password": {password.Reveal()}}
	if cluster.RequireTLS && d.trust != "" {
		options.Set("sslmode", "require")
		jdbcOptions.Set("sslmode", "require")
	}
	jdbc := url.URL{Scheme: "jdbc:postgresql", Host: address(d.host, port), Path: "/" + cluster.Database, RawQuery: jdbcOptions.Encode()}
	uri := func(port int) string {
		u := url.URL{Scheme: "postgresql", User: login, Host: address(d.host, port), Path: "/" + cluster.Database, RawQuery: options.Encode()}
		return u.String()
	}
	c := credentials{
		URI:      uri(port),
		JDBCURL:  jdbc.String(),
		Host:     d.host,
		Hostname: d.host,
		Hosts:    []string{d.host},
		Port:     port,
		Name:     cluster.Database,
		Database: cluster.Database,
		Username: binding.Role,
		Password: password.Reveal(),

		CACertificate: d.trust,
	}
	if cluster.ReadOnlyPort != 0 {
		c.ReadURI = uri(cluster.ReadOnlyPort)
	}
	return c
}

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// endpoint is where an instance is reached, in the words of the OSB API.
type endpoint struct {
	Host     string   `json:"host"`
	Ports    []string `json:"ports"`
	Protocol string   `json:"protocol"`
}

func (d door) endpoints() []endpoint {
	ports := []string{strconv.Itoa(d.cluster.AllocatedPort)}
	if d.cluster.ReadOnlyPort != 0 {
		ports = append(ports, strconv.Itoa(d.cluster.ReadOnlyPort))
	}
	return []endpoint{{Host: d.host, Ports: ports, Protocol: "tcp"}}
}

// bindingMetadata says when a binding ends, and when a platform should have
// replaced it.
type bindingMetadata struct {
	ExpiresAt   string `json:"expires_at"`
	RenewBefore string `json:"renew_before"`
}

// newBindingMetadata leaves the last fifth of a lifetime for the replacement.
func newBindingMetadata(b state.Binding) bindingMetadata {
	left := b.Expires.Sub(b.Created) / 5
	return bindingMetadata{ExpiresAt: moment(b.Expires), RenewBefore: moment(b.Expires.Add(-left))}
}

// moment spells a time as the OSB API wants it.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0Z") }

// tell returns the credentials of a binding, and amends the response with what
// brokerapi v10 has no fields for.
func (b *Broker) tell(ctx context.Context, binding state.Binding) (credentials, error) {
	password, err := b.cfg.Seal.Open(binding.Sealed, binding.SealedBy, state.BindingKey(binding.InstanceID, binding.BindingID))
	if err != nil {
		return credentials{}, err
	}
	cluster, exists, err := readOne[state.Cluster](ctx, b, state.ClusterKey(binding.InstanceID))
	if err == nil && !exists {
		err = osb.ErrConcurrency // the instance was deleted since
	}
	if err != nil {
		return credentials{}, err
	}
	in := door{host: b.cfg.RouterHost, cluster: cluster}
	b.engine.View(func() { in.trust = b.tables.trust(binding.InstanceID) })
	osb.SetField(ctx, "endpoints", in.endpoints())
	if !binding.Expires.IsZero() {
		osb.SetField(ctx, "metadata", newBindingMetadata(binding))
	}
	return in.credentials(binding, password), nil
}
