package broker

import (
	"net"
	"net/url"
	"strconv"

	"github.com/pgpatron/pgpatron/state"
)

// credentials are a binding's, in the words that buildpacks and drivers look
// for.
type credentials struct {
	URI      string `json:"uri"`
	JDBCURL  string `json:"jdbcUrl"`
	Host     string `json:"host"`
	Port     int    `json:"port"`
	Name     string `json:"name"`
	Username string `json:"username"`
	Password string `json:"password"`
}

// newCredentials spells a login to a cluster at its public address; whatever
// is special in a URI is percent-encoded.
func newCredentials(host string, cluster state.Cluster, role string, password state.Secret) credentials {
	address := net.JoinHostPort(host, strconv.Itoa(cluster.AllocatedPort))
	uri := url.URL{
		Scheme: "postgresql",
		User:   url.UserPassword(role, password.Reveal()),
		Host:   address,
		Path:   "/" + cluster.Database,
	}
	jdbc := url.URL{
		Scheme:   "jdbc:postgresql",
		Host:     address,
		Path:     "/" + cluster.Database,
		RawQuery: url.Values{"user": {role}, "password": {password.Reveal()}}.Encode(),
	}
	return credentials{
		URI:      uri.String(),
		JDBCURL:  jdbc.String(),
		Host:     host,
		Port:     cluster.AllocatedPort,
		Name:     cluster.Database,
		Username: role,
		Password: password.Reveal(),
	}
}
