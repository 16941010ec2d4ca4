package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// looseFile says whether conntrack takes up connections of which it has not seen
// the start.
const looseFile = "/proc/sys/net/netfilter/nf_conntrack_tcp_loose"

// checkHost returns what keeps this host from leading in the kernel, as far as
// that can be seen without touching anything.
func checkHost(listen netip.Addr) error {
	if listen.IsLoopback() {
		return fmt.Errorf("connections to %v are led by a kernel only if net.ipv4.conf.*.route_localnet is set, "+
			"which lets other hosts reach loopback services", listen)
	}
	if err := checkCapabilities(); err != nil {
		return err
	}
	if loose, err := readNumber(looseFile); err == nil && loose == 0 {
		return errors.New("net.netfilter.nf_conntrack_tcp_loose is 0: what is left of a connection that was cut would go unanswered; " +
			"mend it with: sysctl -w net.netfilter.nf_conntrack_tcp_loose=1")
	}
	return nil
}

// checkCapabilities names the capabilities that this process lacks.
func checkCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("reading capabilities: %w", err)
	}
	var missing []string
	for _, c := range []struct {
		name string
		bit  uint
	}{{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN}, {"CAP_NET_RAW", unix.CAP_NET_RAW}} {
		if data[0].Effective&(1<<c.bit) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("this process lacks %s", strings.Join(missing, " and "))
	}
	return nil
}

// checkMarks returns an error if somebody else's rules use the marks of flows, in
// which we keep what their clients acknowledged: neither could trust them.
func checkMarks(c *nftables.Conn) error {
	chains, err := c.ListChains()
	if err != nil {
		return fmt.Errorf("reading this host's rules: %w", err)
	}
	for _, chain := range chains {
		if chain.Table.Name == tableName {
			continue
		}
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return fmt.Errorf("reading the rules of chain %s in table %s: %w", chain.Name, chain.Table.Name, err)
		}
		for _, rule := range rules {
			if usesMarks(rule) {
				return fmt.Errorf("chain %s in table %s uses the marks of connections (ct mark)", chain.Name, chain.Table.Name)
			}
		}
	}
	return nil
}

func usesMarks(rule *nftables.Rule) bool {
	for _, e := range rule.Exprs {
		switch e := e.(type) {
		case *expr.Ct:
			if e.Key == expr.CtKeyMARK {
				return true
			}
		case *expr.Target:
			if e.Name == "CONNMARK" {
				return true
			}
		case *expr.Match:
			if e.Name == "connmark" {
				return true
			}
		}
	}
	return false
}

// readNumber reads a setting or a count of the kernel.
func readNumber(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}
