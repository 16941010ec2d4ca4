// Patroni-node is the entrypoint of a node's container. Without arguments it
// runs the node that /var/lib/postgresql/node.json describes; Patroni calls it
// as "patroni-node post-bootstrap <connection string>" to fill a new cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "patroni-node:", err)
		os.Exit(status(err))
	}
}

// status is what this process ends with: Patroni's own exit status, if it is
// Patroni that ended.
func status(err error) int {
	if exit, ok := errors.AsType[*patroni.ExitError](err); ok {
		return exit.Code
	}
	return 1
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	bootstrap := len(args) == 2 && args[0] == "post-bootstrap"
	if len(args) != 0 && !bootstrap {
		return errors.New("usage: patroni-node [post-bootstrap <connection string>]")
	}
	node, err := patroni.ReadNodeConfig(patroni.NodeFile)
	if err != nil {
		return err
	}
	if bootstrap {
		return patroni.PostBootstrap(ctx, node, args[1])
	}
	return runNode(ctx, node, slog.New(slog.NewTextHandler(stderr, nil)))
}

func runNode(ctx context.Context, node patroni.NodeConfig, log *slog.Logger) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	access, err := node.EtcdAccess(patroni.RunPath)
	if err != nil {
		return err
	}
	// Without this SIGHUP would end the process, and it may come at any time.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	etcd, err := dial(ctx, access, log)
	if err != nil {
		return err
	}
	defer etcd.Close()
	n := patroni.Node{
		Config:  node,
		Etcd:    etcd,
		Command: []string{"prompt-patroni"},
		Paths: patroni.Paths{
			Run:           patroni.RunPath,
			Data:          patroni.VolumePath + "/data",
			Bin:           "/usr/lib/postgresql/17/bin",
			IsReady:       "/usr/local/bin/pg_isready",
			Sockets:       patroni.SocketPath,
			PostBootstrap: self + " post-bootstrap",
		},
		TLSFile:       patroni.TLSFile,
		PasswordsFile: patroni.PasswordsFile,
		Signals:       signals,
		Log:           log,
	}
	return n.Run(ctx)
}

// dial returns a client of etcd. Logging in needs etcd to answer, for which a
// node waits.
func dial(ctx context.Context, access state.Access, log *slog.Logger) (*clientv3.Client, error) {
	for {
		etcd, err := access.Dial()
		if err == nil {
			return etcd, nil
		}
		log.WarnContext(ctx, "logging in to etcd, will retry", "err", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, err
		}
	}
}
