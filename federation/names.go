package federation

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// ParseName reads the name of a site: a DNS label of lower-case letters, digits
// and hyphens.
func ParseName(s string) (string, error) {
	if !isLabel(s) {
		return "", fmt.Errorf("name of a datacenter: want a DNS label such as dc-1, got %q", s)
	}
	return s, nil
}

func isLabel(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-'
}

// ParseAddress reads the host:port of a site. The host is an IP address, or a
// DNS name of labels of which the last is not a number.
func ParseAddress(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("address of a datacenter: want host:port, got %q", s)
	}
	if err := checkHost(host); err != nil {
		return "", fmt.Errorf("address of a datacenter %q: %w", s, err)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != port {
		return "", fmt.Errorf("address of a datacenter %q: want a port from 1 to 65535, got %q", s, port)
	}
	return s, nil
}

func checkHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.IsUnspecified() {
			return errors.New("other sites can not reach an unspecified address")
		}
		return nil
	}
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if !isLabel(l) {
			return fmt.Errorf("%q is neither an IP address nor a DNS name", host)
		}
	}
	if _, err := strconv.Atoi(labels[len(labels)-1]); err == nil || len(host) > 253 {
		return fmt.Errorf("%q is neither an IP address nor a DNS name", host)
	}
	return nil
}

// ParseSite reads NAME,HOST,PORT, as dc add takes it.
func ParseSite(s string) (Peer, error) {
	parts := strings.Split(s, ",")
	if len(parts) != 3 {
		return Peer{}, fmt.Errorf("datacenter: want NAME,IP,PORT, got %q", s)
	}
	name, err := ParseName(parts[0])
	if err != nil {
		return Peer{}, err
	}
	address, err := ParseAddress(net.JoinHostPort(parts[1], parts[2]))
	return Peer{DC: name, Address: address}, err
}
