package kernel

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// obstacle is what keeps this host from forwarding, and the command that mends it.
type obstacle struct{ problem, mend string }

// dockerUser is the chain that Docker asks before it drops what is forwarded.
const dockerUser = "DOCKER-USER"

// findObstacle looks for what keeps this host from forwarding, as far as that can
// be seen. What can not is found by the first connection that goes unanswered.
func (f *family) findObstacle(c *nftables.Conn, ports string) (obstacle, error) {
	if on, err := readNumber(f.forwardingFile); err == nil && on == 0 {
		return obstacle{problem: f.forwarding + " is 0", mend: "sysctl -w " + f.forwarding + "=1"}, nil
	}
	chains, err := c.ListChainsOfTableFamily(f.nft)
	if err != nil {
		return obstacle{}, fmt.Errorf("reading this host's firewall: %w", err)
	}
	var dropping, docker *nftables.Chain
	for _, chain := range chains {
		switch {
		case chain.Name == dockerUser:
			docker = chain
		case drops(chain):
			dropping = chain
		}
	}
	if dropping == nil || docker == nil {
		return obstacle{}, nil
	}
	if open, err := accepts(c, docker); open || err != nil {
		return obstacle{}, err
	}
	return obstacle{
		problem: "Docker's firewall drops what is forwarded",
		mend:    f.iptables + " -I DOCKER-USER -p tcp -m conntrack --ctstate DNAT --ctorigdstport " + ports + " -j ACCEPT",
	}, nil
}

// drops reports whether a chain drops every forwarded packet that no rule accepts.
func drops(c *nftables.Chain) bool {
	return c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Type == nftables.ChainTypeFilter &&
		c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
}

// accepts reports whether a chain accepts anything.
func accepts(c *nftables.Conn, chain *nftables.Chain) (bool, error) {
	rules, err := c.GetRules(chain.Table, chain)
	if err != nil {
		return false, fmt.Errorf("reading the rules of chain %s: %w", chain.Name, err)
	}
	for _, rule := range rules {
		for _, e := range rule.Exprs {
			if v, ok := e.(*expr.Verdict); ok && v.Kind == expr.VerdictAccept {
				return true, nil
			}
		}
	}
	return false, nil
}
