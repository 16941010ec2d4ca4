package patroni

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Node is what runs in a container: it waits until its addresses are
// announced, writes Patroni's configuration, and runs Patroni.
type Node struct {
	Config NodeConfig
	Etcd   *clientv3.Client
	// Command is Patroni's; the path of the configuration file is added.
	Command []string
	Paths   Paths
	// Signals are passed on to Patroni as they come. nil: none.
	Signals <-chan os.Signal
	Log     *slog.Logger
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
	api, err := NewClient(fmt.Sprintf("http://127.0.0.1:%d", RESTPort), n.Config.REST, nil)
	if err != nil {
		return err
	}
	waker, err := newWaker(n.Config, n.Etcd, api.Wake, n.Log)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { n.logEnd(watching, "announcements", announced.Run(watching)) })
	addrs, err := announced.first(ctx)
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
	running.Go(func() { n.logEnd(watching, "waker", waker.Run(watching)) })
	return n.supervise(ctx, patroni, changes)
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
func (n *Node) supervise(ctx context.Context, patroni *child, changes <-chan Addresses) error {
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
				err = patroni.signal(s)
			}
		case addrs := <-changes:
			n.Log.InfoContext(ctx, "announced address changed, reloading patroni", "addr", addrs.PostgreSQL, "api", addrs.REST)
			if _, err = n.writeConfig(addrs); err == nil {
				err = patroni.signal(syscall.SIGHUP)
			}
		}
		if err != nil {
			n.Log.ErrorContext(ctx, "supervising patroni", "err", err)
		}
	}
}

// writeConfig puts patroni.yml in its place at once and whole, for Patroni
// reads it when it likes.
func (n *Node) writeConfig(addrs Addresses) (string, error) {
	cfg, err := NewConfig(n.Config, addrs, n.Paths)
	if err != nil {
		return "", err
	}
	b, err := cfg.YAML()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(n.Paths.Run, 0o700); err != nil {
		return "", err
	}
	file := filepath.Join(n.Paths.Run, "patroni.yml")
	if err := os.WriteFile(file+".new", b, 0o600); err != nil {
		return "", err
	}
	return file, os.Rename(file+".new", file)
}
