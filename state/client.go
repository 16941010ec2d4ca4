package state

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// streamWindow is how many bytes etcd may send ahead of us on one stream.
const streamWindow = 4 << 20

// silent takes what the client library would log: errors say it better.
var silent = zap.NewNop()

// Dial returns a client of the etcd cluster at endpoints, which asks neither for
// TLS nor for a login. It does not connect: Check does.
func Dial(endpoints []string) (*clientv3.Client, error) {
	return Access{Endpoints: endpoints}.Dial()
}

func connectOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		// Windows that gRPC sizes itself cost a ping for each message of a
		// watch. These hold a page of a load.
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(2 * streamWindow),
	}
}

// Check reports in words whether the etcd cluster can be used: whether it
// answers at all, and whether it has a quorum.
func Check(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := client.Get(ctx, SiteKey())
	if err == nil {
		return nil
	}
	endpoints := client.Endpoints()
	names := strings.Join(endpoints, ",")
	if isLoginRefused(err) {
		return fmt.Errorf("etcd at %s refuses this process: see etcd_username, and what pgpatron init etcd grants (%w)", names, err)
	}
	if answers(context.WithoutCancel(ctx), client, endpoints) {
		return fmt.Errorf("etcd at %s answers but has no quorum: see that a majority of its members runs (%w)", names, err)
	}
	return notAnswering(names, err)
}

func notAnswering(names string, err error) error {
	return fmt.Errorf("etcd at %s does not answer: start it, or name other endpoints (%w)", names, err)
}

// isLoginRefused reports whether etcd answered, but not to this user.
func isLoginRefused(err error) bool {
	for _, refusal := range []error{rpctypes.ErrAuthFailed, rpctypes.ErrUserEmpty, rpctypes.ErrUserNotFound, rpctypes.ErrPermissionDenied, rpctypes.ErrInvalidAuthToken} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// answers reports whether any member serves even without a quorum.
func answers(ctx context.Context, client *clientv3.Client, endpoints []string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, endpoint := range endpoints {
		if _, err := client.Status(ctx, endpoint); err == nil {
			return true
		}
	}
	return false
}

// SiteID returns the random id of the site that this etcd cluster serves, and
// makes one if there is none yet.
func SiteID(ctx context.Context, client *clientv3.Client, fresh func() string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	resp, err := client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(SiteKey()), "=", 0)).
		Then(clientv3.OpPut(SiteKey(), fresh()), clientv3.OpGet(SiteKey())).
		Else(clientv3.OpGet(SiteKey())).
		Commit()
	if err != nil {
		return "", fmt.Errorf("reading the site's id: %w", err)
	}
	kvs := resp.Responses[len(resp.Responses)-1].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return "", errors.New("reading the site's id: etcd returned none")
	}
	return string(kvs[0].Value), nil
}
