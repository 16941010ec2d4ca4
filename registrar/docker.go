package registrar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
)

// Deadlines of calls to Docker. A pull may move hundreds of megabytes.
const (
	askTimeout  = 10 * time.Second
	workTimeout = time.Minute
	pullTimeout = 10 * time.Minute
)

// docker is the host's Docker Engine, as far as it concerns one registrar: of
// containers and volumes it sees those with the labels of owner alone.
type docker struct {
	client *client.Client
	owner  owner
}

// dialDocker returns a client of the Docker Engine at host, or where the
// environment says. It does not connect.
func dialDocker(host string) (*client.Client, error) {
	opts := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if host != "" {
		opts = append(opts, client.WithHost(host))
	}
	c, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, fmt.Errorf("docker client: %w", err)
	}
	return c, nil
}

// CheckDocker reports the version of the Docker Engine at host (empty: where
// the environment says) and the address at which containers reach this host:
// the gateway of Docker's default bridge.
func CheckDocker(ctx context.Context, host string) (version string, bridgeGateway netip.Addr, err error) {
	c, err := dialDocker(host)
	if err != nil {
		return "", netip.Addr{}, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	v, err := c.ServerVersion(ctx)
	if err != nil {
		return "", netip.Addr{}, fmt.Errorf("docker is not reachable at %s: start it, or name another by DOCKER_HOST: %w", c.DaemonHost(), err)
	}
	bridge, err := c.NetworkInspect(ctx, "bridge", network.InspectOptions{})
	if err != nil {
		return "", netip.Addr{}, fmt.Errorf("docker at %s has no default bridge: %w", c.DaemonHost(), err)
	}
	for _, pool := range bridge.IPAM.Config {
		if gateway, ok := gatewayOf(pool); ok {
			return v.Version, gateway, nil
		}
	}
	return "", netip.Addr{}, fmt.Errorf("docker at %s: its default bridge has no gateway", c.DaemonHost())
}

// gatewayOf returns a pool's gateway. An engine that has never started a
// container tells the subnet alone: the gateway will be its first address.
func gatewayOf(pool network.IPAMConfig) (netip.Addr, bool) {
	gateway, err := netip.ParseAddr(pool.Gateway)
	if err != nil {
		subnet, err := netip.ParsePrefix(pool.Subnet)
		if err != nil {
			return netip.Addr{}, false
		}
		gateway = subnet.Masked().Addr().Next()
	}
	return gateway, gateway.Is4()
}

// version asks whether Docker answers, and for its version.
func (d *docker) version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	v, err := d.client.ServerVersion(ctx)
	return v.Version, err
}

// unreachable reports whether err says that Docker itself did not answer.
func unreachable(err error) bool {
	return client.IsErrConnectionFailed(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, context.DeadlineExceeded)
}
