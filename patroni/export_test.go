package patroni

import (
	"context"
	"log/slog"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// What tests of this package reach into.
var (
	DecodeNodeConfig      = decodeNodeConfig
	SCRAMVerifierWithSalt = scramVerifier
	Verifies              = verifies
	Settle                = settle
	Crashed               = crashed
)

// RunWaker runs a waker until ctx ends.
func RunWaker(ctx context.Context, node NodeConfig, etcd *clientv3.Client, wake func(context.Context) error, log *slog.Logger) error {
	w, err := newWaker(node, etcd, wake, log)
	if err != nil {
		return err
	}
	return w.Run(ctx)
}
