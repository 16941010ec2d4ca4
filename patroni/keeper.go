package patroni

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgpatron/pgpatron/state"
)

const (
	// settleInterval is how often a node looks whether its server has the passwords
	// that it is to have, until it has.
	settleInterval = 300 * time.Millisecond
	// deafness is how long after its start Patroni is told nothing: the signal would
	// end a program that has not asked for it yet.
	deafness = 3 * time.Second
)

// keeper knows a node's passwords: which it was given, which its server has, and
// which the leader's. Passwords that replicas log in with are those of the leader's
// server; what its own server has concerns the node alone.
type keeper struct {
	path   string
	node   NodeConfig
	server *pgx.ConnConfig
	log    *slog.Logger
	// news tells that other passwords were given, changed that Patroni's
	// configuration is another one now.
	news, changed chan struct{}

	// mu guards the rest. has and leaderHas are Sets of logins, or noSet.
	mu             sync.Mutex
	given          Passwords
	has, leaderHas int
}

// newKeeper reads what the node was given.
func newKeeper(n *Node) (*keeper, error) {
	server, err := localServer(n.Paths.Sockets, n.Config.Superuser)
	if err != nil {
		return nil, err
	}
	k := &keeper{
		path: n.PasswordsFile, node: n.Config, server: server, log: n.Log,
		news: make(chan struct{}, 1), changed: make(chan struct{}, 1), has: noSet, leaderHas: noSet,
	}
	return k, k.read()
}

// read takes in what the node is given now.
func (k *keeper) read() error {
	given, err := ReadPasswords(k.path, k.node)
	if err != nil {
		return err
	}
	k.mu.Lock()
	if given.Logins != k.given.Logins {
		k.has = noSet
	}
	k.given = given
	k.mu.Unlock()
	poke(k.news)
	return nil
}

// keys is what a node's Patroni is configured with.
type keys struct {
	given Passwords
	// has is the Set of the logins that the server has, or noSet.
	has       int
	leaderHas int
}

func (k *keeper) keys() keys {
	k.mu.Lock()
	defer k.mu.Unlock()
	return keys{given: k.given, has: k.has, leaderHas: k.leaderHas}
}

// replication returns the login that the leader's server takes, as far as the leader
// has told which passwords it has.
func (s keys) replication() state.Credentials {
	if s.given.Spare != (state.Logins{}) && s.leaderHas == s.given.Spare.Set {
		return s.given.Spare.Replication
	}
	return s.given.Logins.Replication
}

// unsettled reports whether it is not known that the server has what it is to have.
// The passwords that a cluster was made with are not looked at.
func (s keys) unsettled() bool { return s.given.Edition != 0 && s.has != s.given.Logins.Set }

// Run settles until ctx ends.
func (k *keeper) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if now := k.keys(); now.unsettled() {
			k.settle(ctx, now.given)
		}
		var again <-chan time.Time
		if k.keys().unsettled() {
			again = time.After(settleInterval)
		}
		select {
		case <-ctx.Done():
		case <-k.news:
		case <-again:
		}
	}
}

// settle has the server take the passwords, if it is to be had.
func (k *keeper) settle(ctx context.Context, given Passwords) {
	settled, err := settle(ctx, k.server, given.Logins)
	if err != nil {
		k.log.DebugContext(ctx, "giving the server its passwords, will retry", "err", err)
	}
	if !settled {
		return
	}
	k.log.InfoContext(ctx, "the server has its passwords", "edition", given.Edition)
	k.mu.Lock()
	if k.given.Logins == given.Logins {
		k.has = given.Logins.Set
	}
	k.mu.Unlock()
	poke(k.changed)
}

// follow heeds which passwords the leader's server has, as members tell, until ctx
// ends.
func (k *keeper) follow(ctx context.Context, w *waker) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(deafness):
	}
	for w.awaitLeaderSet(ctx, k.keys().leaderHas, k.lead) == nil {
		poke(k.changed)
	}
}

// lead notes which passwords the leader's server has.
func (k *keeper) lead(set int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leaderHas = set
}

// poke leaves word for whoever listens, if none is left there already.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
