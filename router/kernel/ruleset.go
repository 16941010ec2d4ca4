package kernel

import (
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// tableName is the name of our tables, one of IPv4 and one of IPv6.
const tableName = "pgpatron"

// pokeMark is on the packets that end connections: they belong to no flow.
const pokeMark = 0x706b

// troubleTTL is how long the kernel by itself leads no new connection to a port
// about whose leader it found a doubt. It only matters while no router runs.
const troubleTTL = 10 * time.Second

// table is what we keep in nftables for one family of addresses. In the words of
// its command line:
//
//	map leaders  { type inet_service : ipv4_addr . inet_service; }
//	set ports    { type inet_service; }           # all that ever had a leader
//	set servers  { type ipv4_addr . inet_service; }  # all leaders
//	set opened, sent, received { …; counter; }    # the same ports, counted
//	set cut      { type inet_service; }           # flows of these are being ended
//	set doubted, failed { …; flags dynamic,timeout; }
//
// A new connection to a port with an element in leaders is led there. Without
// one it goes where it would without us: to the router's own listener.
type table struct {
	*family
	listen netip.Addr
	nft    *nftables.Table

	leaders                *nftables.Set
	ports, servers         *nftables.Set
	opened, sent, received *nftables.Set
	cut                    *nftables.Set
	doubted, failed        *nftables.Set
}

func newTable(f *family, listen netip.Addr) *table {
	t := &table{family: f, listen: listen, nft: &nftables.Table{Name: tableName, Family: f.nft}}
	set := func(name string) *nftables.Set {
		return &nftables.Set{Table: t.nft, Name: name, KeyType: nftables.TypeInetService}
	}
	t.leaders, t.ports, t.cut = set("leaders"), set("ports"), set("cut")
	t.leaders.IsMap, t.leaders.DataType = true, nftables.MustConcatSetType(f.address, nftables.TypeInetService)
	t.servers = set("servers")
	t.servers.KeyType, t.servers.Concatenation = nftables.MustConcatSetType(f.address, nftables.TypeInetService), true
	t.opened, t.sent, t.received = set("opened"), set("sent"), set("received")
	for _, counted := range t.counted() {
		counted.Counter = true
	}
	t.doubted, t.failed = set("doubted"), set("failed")
	for _, trouble := range []*nftables.Set{t.doubted, t.failed} {
		trouble.Dynamic, trouble.HasTimeout, trouble.Timeout = true, true, troubleTTL
	}
	return t
}

func (t *table) counted() []*nftables.Set { return []*nftables.Set{t.opened, t.sent, t.received} }

// lasting are the sets whose elements outlive what they describe: every port.
func (t *table) lasting() []*nftables.Set { return append(t.counted(), t.ports) }

func (t *table) sets() []*nftables.Set {
	return append(t.lasting(), t.leaders, t.servers, t.cut, t.doubted, t.failed)
}

// declare puts into c all that makes the table as it must be, whether there is
// one or not. Elements of an existing one stay.
func (t *table) declare(c *nftables.Conn) error {
	c.AddTable(t.nft)
	for _, s := range t.sets() {
		if err := c.AddSet(s, nil); err != nil {
			return err
		}
	}
	for _, chain := range t.chains() {
		c.AddChain(chain.Chain)
		c.FlushChain(chain.Chain)
	}
	for _, chain := range t.chains() {
		for _, rule := range chain.rules {
			c.AddRule(&nftables.Rule{Table: t.nft, Chain: chain.Chain, Exprs: rule})
		}
	}
	return nil
}

// chain is a chain with its rules.
type chain struct {
	*nftables.Chain
	rules [][]expr.Any
}

// chains returns all of them, each after those that it jumps to.
func (t *table) chains() []chain {
	return []chain{
		t.sub("from_client", t.fromClient()...),
		t.sub("from_server", t.fromServer()...),
		t.base("lead_in", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, -110, t.lead()),
		t.base("lead_out", nftables.ChainTypeNAT, nftables.ChainHookOutput, -110, t.lead()),
		t.base("hide", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, 90,
			words(isTCP(), t.isLed(), isElsewhere(expr.MetaKeyOIFNAME), []expr.Any{&expr.Masq{}})),
		t.base("hide_local", nftables.ChainTypeNAT, nftables.ChainHookInput, 90,
			words(isTCP(), t.isLed(), t.comeFromAsked())),
		t.base("watch_in", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, -140,
			words(isTCP(), status(translate, translate), direction(original), jump("from_client")),
			words(isTCP(), status(translate, translate), direction(reply), isElsewhere(expr.MetaKeyIIFNAME), jump("from_server")),
			words(t.stray(), portAsked(), isIn(t.ports), drop()),
			words(t.stray(), t.sender(), []expr.Any{&expr.Lookup{
				SourceRegister: regWork, SetName: t.servers.Name, SetID: t.servers.ID,
			}}, drop()),
			// That a leader can not be reached is kept from the client as a refusal is.
			words(state(expr.CtStateBitRELATED), isNotTCP(), status(translate|assured, translate),
				portOfFlow(), t.isServed(), putInto(t.failed), drop())),
		t.base("watch_out", nftables.ChainTypeFilter, nftables.ChainHookOutput, -140,
			words(isTCP(), status(translate, translate), direction(original), jump("from_client")),
			words(isTCP(), status(translate, translate), direction(reply), jump("from_server"))),
		t.base("pokes", nftables.ChainTypeFilter, nftables.ChainHookOutput, -300,
			[]expr.Any{
				&expr.Meta{Key: expr.MetaKeyMARK, Register: regWork},
				&expr.Cmp{Op: expr.CmpOpEq, Register: regWork, Data: native32(pokeMark)},
				&expr.Notrack{},
			}),
	}
}

func (t *table) sub(name string, rules ...[]expr.Any) chain {
	return chain{Chain: &nftables.Chain{Name: name, Table: t.nft}, rules: rules}
}

func (t *table) base(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority int32, rules ...[]expr.Any) chain {
	return chain{Chain: &nftables.Chain{
		Name: name, Table: t.nft, Type: kind, Hooknum: hook,
		Priority: nftables.ChainPriorityRef(nftables.ChainPriority(priority)),
	}, rules: rules}
}

// lead sends a new connection to the leader of its port, unless something is
// wrong with that.
func (t *table) lead() []expr.Any {
	return words(
		isTCP(), isLocal(), t.isFor(t.listen), flags(fin|syn|rst|ack, syn),
		portAsked(), isNotIn(t.doubted), isNotIn(t.failed),
		[]expr.Any{&expr.Lookup{
			SourceRegister: regPort, DestRegister: regWork, IsDestRegSet: true,
			SetName: t.leaders.Name, SetID: t.leaders.ID,
		}},
		isIn(t.opened), t.leadTo())
}

// isLed goes on with flows that lead has sent somewhere.
func (t *table) isLed() []expr.Any {
	return words(status(translate, translate), portOfFlow(), isIn(t.ports))
}

// isServed goes on if the port loaded is ours and is not being cut: what happens
// then is our doing.
func (t *table) isServed() []expr.Any { return words(isIn(t.ports), isNotIn(t.cut)) }

// stray goes on with packets to this host that conntrack holds for no part of
// their connection. This host's TCP, which knows of no
// connection either, would reset a good one for it.
func (t *table) stray() []expr.Any {
	return words(isTCP(), state(expr.CtStateBitINVALID), flags(syn|rst, 0), isLocal())
}

// fromClient sees every packet of a client, but for the first of a connection.
//
// The last acknowledgement is what a reset has to know to be believed by a client
// behind somebody else's NAT, which lets nothing else through. While flows are
// being cut, none passes: each is answered with a reset. So the mark of a flow
// that is dumped later is its client's last word, or a newer one has been reset.
//
// A client that says goodbye, or wants something cancelled, waits for the server to
// end the connection: it has ended its side as good as any.
func (t *table) fromClient() [][]expr.Any {
	established := state(expr.CtStateBitESTABLISHED)
	return [][]expr.Any{
		words(portAsked(), isIn(t.sent), flags(rst|ack, ack), markACK()),
		words(flags(syn|rst, 0), portAsked(), isIn(t.cut), rejectTCP()),
		words(anyFlag(fin|rst), established, portAsked(), isIn(t.ports), setLabel()),
		words(anyFlag(psh), says(0, terminate), portAsked(), isIn(t.ports), setLabel()),
		words(anyFlag(psh), says(4, cancelRequest), portAsked(), isIn(t.ports), setLabel()),
		// A SYN that comes again has met silence.
		words(flags(syn|ack, syn), status(seenReply, 0), portAsked(), t.isServed(), putInto(t.failed)),
	}
}

// fromServer sees every packet of a leader.
//
// A server that ends a connection first may be ending altogether, and come back
// as a standby: no other connection may go there before it has been looked at. A
// refusal is kept from the client, which asks again a second later and then meets
// the router's listener.
func (t *table) fromServer() [][]expr.Any {
	established := state(expr.CtStateBitESTABLISHED)
	return [][]expr.Any{
		words(portOfFlow(), isIn(t.received), flags(syn|rst, 0), isIn(t.cut), rejectTCP()),
		words(flags(rst, rst), established, status(assured, 0), portOfFlow(), t.isServed(), putInto(t.failed), drop()),
		words(anyFlag(fin|rst), established, hasNoLabel(), portOfFlow(), t.isServed(), putInto(t.doubted)),
	}
}
