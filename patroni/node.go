package patroni

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
)

// Node is what runs in a container: it waits until its addresses are
// announced, writes Patroni's configuration, and runs Patroni.
type Node struct {
	Config NodeConfig
	Etcd   *clientv3.Client
	// Command is Patroni's; the path of the configuration file is added.
	Command []string
	Paths   Paths
	// TLSFile is where the node's ServerTLS is. Empty: PostgreSQL speaks plain.
	TLSFile string
	// PasswordsFile is where the node's Passwords are. Empty, or no file: they are
	// those of Config.
	PasswordsFile string
	// Signals are passed on to Patroni as they come; at SIGHUP TLSFile and
	// PasswordsFile are read again first. nil: none.
	Signals <-chan os.Signal
	Log     *slog.Logger

	keeper *keeper
}

// Run runs the node until Patroni ends. When ctx ends, Patroni is told to stop
// and stops PostgreSQL first. An ExitError tells an exit status other than 0.
// It collects every child of this process, so that it must be the only one that
// starts any.
func (n *Node) Run(ctx context.Context) error {
	announced, err := newAnnouncements(n.Config, n.Etcd, n.Log)
	if err != nil {
		return err
	}
	if n.keeper, err = newKeeper(n); err != nil {
		return err
	}
	waker, err := newWaker(n.Config, n.Etcd, n.wake, n.Log)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { n.logEnd(watching, "announcements", announced.Run(watching)) })
	running.Go(func() { n.logEnd(watching, "waker", waker.Run(watching)) })
	addrs, err := n.prepare(ctx, announced, waker)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	patroni, err := n.start(addrs)
	if err != nil {
		return err
	}
	changes := make(chan Addresses)
	running.Go(func() { announced.follow(watching, addrs, changes) })
	running.Go(func() { n.keeper.follow(watching, waker) })
	running.Go(func() { n.keeper.Run(watching) })
	running.Go(func() { n.mourn(watching, patroni.orphans) })
	if n.Paths.Sockets != "" {
		running.Go(func() { n.logEnd(watching, "relief", n.relief(waker).Run(watching)) })
	}
	return n.supervise(ctx, patroni, addrs, changes)
}

// prepare waits until everything is known that Patroni's configuration says.
func (n *Node) prepare(ctx context.Context, announced *announcements, waker *waker) (Addresses, error) {
	addrs, err := announced.first(ctx)
	if err != nil {
		return addrs, err
	}
	return addrs, waker.loaded(ctx, n.keeper.lead)
}

func (n *Node) relief(waker *waker) *relief {
	return &relief{
		sockets: n.Paths.Sockets, login: func() state.Credentials { return n.keeper.keys().given.Logins.Superuser },
		needed: waker.leadsSeveral, wake: n.wake, log: n.Log,
	}
}

// wake has this node's Patroni look at its cluster.
func (n *Node) wake(ctx context.Context) error {
	api, err := NewClient(fmt.Sprintf("http://127.0.0.1:%d", RESTPort), n.keeper.keys().given.Logins.REST, nil)
	if err != nil {
		return err
	}
	return api.Wake(ctx)
}

// logEnd tells that something ended that Patroni can do without.
func (n *Node) logEnd(ctx context.Context, what string, err error) {
	if err != nil {
		n.Log.ErrorContext(ctx, "watching etcd ended", "what", what, "err", err)
	}
}

func (n *Node) start(addrs Addresses) (*child, error) {
	file, err := n.writeConfig(addrs)
	if err != nil {
		return nil, err
	}
	n.Log.Info("starting patroni", "member", n.Config.NodeID, "addr", addrs.PostgreSQL, "api", addrs.REST)
	return startChild(append(slices.Clone(n.Command), file))
}

// supervise passes on what comes in until Patroni ends.
func (n *Node) supervise(ctx context.Context, patroni *child, addrs Addresses, changes <-chan Addresses) error {
	stop := ctx.Done()
	for {
		var err error
		select {
		case err := <-patroni.ended:
			return err
		case <-stop:
			stop = nil
			n.Log.InfoContext(ctx, "stopping patroni")
			err = patroni.signal(syscall.SIGTERM)
		case s := <-n.Signals:
			if s, ok := s.(syscall.Signal); ok {
				err = n.pass(ctx, s, patroni, addrs)
			}
		case addrs = <-changes:
			n.Log.InfoContext(ctx, "announced address changed, reloading patroni", "addr", addrs.PostgreSQL, "api", addrs.REST)
			err = n.reload(patroni, addrs)
		case <-n.keeper.changed:
			err = n.reload(patroni, addrs)
		}
		if err != nil {
			n.Log.ErrorContext(ctx, "supervising patroni", "err", err)
		}
	}
}

// pass gives a signal to Patroni. Before SIGHUP there is something new to read.
func (n *Node) pass(ctx context.Context, s syscall.Signal, patroni *child, addrs Addresses) error {
	if s != syscall.SIGHUP {
		return patroni.signal(s)
	}
	n.Log.InfoContext(ctx, "told to look again, reloading patroni")
	return errors.Join(n.keeper.read(), n.reload(patroni, addrs))
}

// reload has Patroni read its configuration, and PostgreSQL its own, as they are
// now.
func (n *Node) reload(patroni *child, addrs Addresses) error {
	if _, err := n.writeConfig(addrs); err != nil {
		return err
	}
	return patroni.signal(syscall.SIGHUP)
}

// writeConfig puts patroni.yml in its place, for Patroni reads it when it likes,
// and before it what it names.
func (n *Node) writeConfig(addrs Addresses) (string, error) {
	tls, err := n.serverTLS()
	if err != nil {
		return "", err
	}
	cfg, err := NewConfig(n.Config, tls, addrs, n.Paths)
	if err != nil {
		return "", err
	}
	cfg.use(n.keeper.keys())
	b, err := cfg.YAML()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(n.Paths.Run, 0o700); err != nil {
		return "", err
	}
	if err := tls.write(n.Paths.Run); err != nil {
		return "", err
	}
	file := filepath.Join(n.Paths.Run, "patroni.yml")
	return file, replaceFile(file, b)
}

func (n *Node) serverTLS() (ServerTLS, error) {
	if n.TLSFile == "" {
		return ServerTLS{}, nil
	}
	return ReadServerTLS(n.TLSFile)
}
