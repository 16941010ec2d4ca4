package registry

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Instance is something that runs and can be called.
type Instance struct {
	ID string `json:"id"`
	// URL is where it is called. No two instances have the same.
	URL          string `json:"url,omitempty"`
	DeploymentID string `json:"deploymentId,omitempty"`
	// NodeURL is the registry of the node that runs it.
	NodeURL string `json:"nodeUrl,omitempty"`
	// Scheme, Host, IP, Port and Path are the URL's parts. Host is a name, IP an
	// address; at least one of them is known.
	Scheme string `json:"scheme,omitempty"`
	Host   string `json:"host,omitempty"`
	IP     string `json:"ip,omitempty"`
	Port   int    `json:"port,omitempty"`
	Path   string `json:"path,omitempty"`
	// Slug is by which callers find it.
	Slug string   `json:"slug,omitempty"`
	Tags []string `json:"tags,omitempty"`
	// Role is leader or replica, of a database's node.
	Role    string         `json:"role,omitempty"`
	Status  InstanceStatus `json:"status"`
	Details string         `json:"details,omitempty"`
	// Ports are all ports that it is reached at, of one that a registrar runs.
	Ports         []Port    `json:"ports,omitempty"`
	LastHeartbeat time.Time `json:"lastHeartbeat,omitzero"`
}

// InstanceStatus is how an instance is.
type InstanceStatus string

// The statuses of instances.
const (
	// InstanceUnknown was not probed yet.
	InstanceUnknown InstanceStatus = "Unknown"
	// InstanceHealthy answers as it should.
	InstanceHealthy InstanceStatus = "Healthy"
	// InstanceDegraded answers, but not as it should.
	InstanceDegraded InstanceStatus = "Degraded"
	// InstanceUnreachable does not answer.
	InstanceUnreachable InstanceStatus = "Unreachable"
	// InstanceError does not run.
	InstanceError InstanceStatus = "Error"
)

// Address returns host:port as a prober dials it.
func (in Instance) Address() string {
	host := in.IP
	if host == "" {
		host = in.Host
	}
	return net.JoinHostPort(host, strconv.Itoa(in.Port))
}

// SetAddr fills in the URL, and its parts, of an instance at an address.
func (in *Instance) SetAddr(scheme string, at netip.AddrPort, path string) {
	in.Scheme, in.IP, in.Port, in.Path = scheme, at.Addr().String(), int(at.Port()), path
	in.URL = (&url.URL{Scheme: scheme, Host: at.String(), Path: path}).String()
}

// complete fills in the URL from its parts, or the parts from the URL, and
// checks both.
func (in *Instance) complete() error {
	if in.URL == "" {
		return in.completeURL()
	}
	u, err := url.Parse(in.URL)
	if err != nil || u.Scheme == "" || u.Hostname() == "" || u.User != nil {
		return FieldError{"url", "must be a URL such as http://10.0.0.7:8080/path, without a login"}
	}
	port, err := portOf(u)
	if err != nil {
		return err
	}
	host, ip := u.Hostname(), ""
	if _, err := netip.ParseAddr(host); err == nil {
		host, ip = "", host
	}
	for _, part := range []struct {
		field, said, found string
	}{
		{"scheme", in.Scheme, u.Scheme}, {"path", in.Path, u.Path}, {"host", in.Host, host}, {"ip", in.IP, ip},
	} {
		if part.said != "" && part.found != "" && part.said != part.found {
			return FieldError{part.field, fmt.Sprintf("is %q, the url says %q", part.said, part.found)}
		}
	}
	if in.Port != 0 && in.Port != port {
		return FieldError{"port", fmt.Sprintf("is %d, the url says %d", in.Port, port)}
	}
	in.Scheme, in.Path, in.Port = u.Scheme, u.Path, port
	if host != "" {
		in.Host = host
	}
	if ip != "" {
		in.IP = ip
	}
	return nil
}

func (in *Instance) completeURL() error {
	if in.Scheme == "" {
		return FieldError{"url", "must be set, or scheme, host or ip, and port"}
	}
	if in.Host == "" && in.IP == "" {
		return FieldError{"host", "must be set, or ip, where there is no url"}
	}
	if _, err := netip.ParseAddr(in.IP); in.IP != "" && err != nil {
		return FieldError{"ip", fmt.Sprintf("must be an IP address, got %q", in.IP)}
	}
	if !isPort(in.Port) {
		return FieldError{"port", fmt.Sprintf("must be from 1 to 65535, got %d", in.Port)}
	}
	if err := validPath(in.Path); err != nil {
		return err
	}
	host := in.Host
	if host == "" {
		host = in.IP
	}
	in.URL = (&url.URL{Scheme: in.Scheme, Host: net.JoinHostPort(host, strconv.Itoa(in.Port)), Path: in.Path}).String()
	_, err := url.Parse(in.URL)
	if err != nil || strings.ContainsAny(host, "/@ ") {
		return FieldError{"host", fmt.Sprintf("must be a host's name, got %q", host)}
	}
	return nil
}

// portOf returns a URL's port, or its scheme's.
func portOf(u *url.URL) (int, error) {
	if u.Port() == "" {
		switch u.Scheme {
		case SchemeHTTP:
			return 80, nil
		case SchemeHTTPS:
			return 443, nil
		case SchemePostgreSQL, "postgres":
			return 5432, nil
		}
		return 0, FieldError{"url", "must name a port"}
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil || !isPort(port) {
		return 0, FieldError{"url", fmt.Sprintf("must name a port from 1 to 65535, got %q", u.Port())}
	}
	return port, nil
}
