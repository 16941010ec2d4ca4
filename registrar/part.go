package registrar

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"

	"github.com/pgpatron/pgpatron/state"
)

// Part is another duty of a backend, beside its databases. It stands on the
// registrar's engine and works only while the backend is this registrar's.
type Part interface {
	// Register adds what the part looks at in etcd.
	Register(s *state.Schema)
	// Tick is the part's turn in each of the registrar's, by the same rules. The
	// first one may come after changes that no table tells any more.
	Tick(ctx context.Context, t state.Tick) ([]state.Group, error)
	// Run works until ctx ends, which is no error.
	Run(ctx context.Context, engine *state.Engine) error
}

// ID returns the backend's id.
func (r *Registrar) ID() string { return r.backend }

// Engine returns the engine that the registrar and its parts stand on.
func (r *Registrar) Engine() *state.Engine { return r.engine }

// runParts runs the parts beside the registrar's own work.
func (r *Registrar) runParts(ctx context.Context, running *errgroup.Group) {
	for _, p := range r.cfg.Parts {
		running.Go(func() error { return p.Run(ctx, r.engine) })
	}
}

// tickParts gives each part its turn.
func (r *Registrar) tickParts(ctx context.Context, t state.Tick) ([]state.Group, error) {
	var all []state.Group
	for _, p := range r.cfg.Parts {
		groups, err := p.Tick(ctx, t)
		if err != nil {
			return nil, err
		}
		all = append(all, groups...)
	}
	return all, nil
}

// What follows is for parts, so that they treat Docker as the registrar does.

// DialDocker returns a client of the Docker Engine at host (empty: where the
// environment says). It does not connect.
func DialDocker(host string) (*client.Client, error) { return dialDocker(host) }

// NeedImage sees to it that the host has the image, and pulls it if not.
func NeedImage(ctx context.Context, c *client.Client, ref string) error {
	d := &docker{client: c}
	has, err := d.hasImage(ctx, ref)
	if err != nil || has {
		return err
	}
	if err := d.pull(ctx, ref); err != nil {
		return fmt.Errorf("pulling image %s: %w", ref, err)
	}
	return nil
}

// DockerSilent reports whether err says that Docker itself did not answer.
func DockerSilent(err error) bool { return unreachable(err) }

// PortTaken reports whether err, of starting a container, says that a host port
// of it is in use.
func PortTaken(err error) bool { return portTaken(err) }

// PortInUse reports whether something listens on the port.
func PortInUse(ctx context.Context, addr netip.Addr, port int) bool { return inUse(ctx, addr, port) }
