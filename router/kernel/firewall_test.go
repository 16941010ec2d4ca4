package kernel_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/pgpatron/pgpatron/router/kernel"
)

// Docker drops what is forwarded until its own chain says otherwise: leaders on
// other hosts are served in user space, and the log has the command that mends it.
func dockersFirewall(t *testing.T, l *lab) {
	c := l.nft()
	table := c.AddTable(&nftables.Table{Name: "filter", Family: nftables.TableFamilyIPv4})
	t.Cleanup(func() {
		c.DelTable(table)
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
	})
	user := c.AddChain(&nftables.Chain{Name: "DOCKER-USER", Table: table})
	policy := nftables.ChainPolicyDrop
	forward := c.AddChain(&nftables.Chain{
		Name: "FORWARD", Table: table, Type: nftables.ChainTypeFilter, Policy: &policy,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: user.Name}}})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}

	var log bytes.Buffer
	p, stop := l.start(kernel.Config{Ports: "30000:30999", Log: slog.New(slog.NewTextHandler(&log, nil))})
	p.Offer(l.portNumber(), l.l1["ipv4"].addr)
	l.reach("direct", "ipv4", l.user)
	here := newServer(t, l.router, "10.91.1.1:5434")
	p.Offer(l.portNumber(), here.addr)
	l.reach("direct", "ipv4", here)
	stop()
	want := "iptables -I DOCKER-USER -p tcp -m conntrack --ctstate DNAT --ctorigdstport 30000:30999 -j ACCEPT"
	if !strings.Contains(log.String(), want) {
		t.Errorf("the log does not say %q:\n%s", want, &log)
	}

	c.AddRule(&nftables.Rule{Table: table, Chain: user, Exprs: []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{0x20, 0, 0, 0}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	p, _ = l.start(kernel.Config{})
	p.Offer(l.portNumber(), l.l1["ipv4"].addr)
	l.reach("direct", "ipv4", l.l1["ipv4"])
}
