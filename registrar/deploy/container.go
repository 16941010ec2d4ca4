package deploy

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/docker/go-connections/nat"

	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/registrar/registry"
)

// The labels of instances' containers. They share none with databases but
// pgpatron.host and pgpatron.site, so that neither takes the other's for its own.
const (
	labelSite       = "pgpatron.site"
	labelHost       = "pgpatron.host"
	labelRunner     = "pgpatron.runner"
	labelDeployment = "pgpatron.deployment"
	labelInstance   = "pgpatron.instance"
	// labelImage, on an image, is the name that it was built under.
	labelImage = "pgpatron.image"
)

const (
	askTimeout  = 10 * time.Second
	workTimeout = time.Minute
	// stopSeconds is what an instance gets to stop by itself.
	stopSeconds = 10
	pidsLimit   = 2048
	// lastWords is how much of what a dead container said is told.
	lastWords = 200
)

// capabilities are what programs in containers commonly need to become another
// user and to listen. All others are dropped.
var capabilities = []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"}

// docker is the host's Docker Engine, as far as it concerns the instances of
// one registrar.
type docker struct {
	client *client.Client
	cfg    Config

	// launching serialises the choice of ports: one is free until a container
	// says otherwise.
	launching sync.Mutex
}

// running is an instance's container.
type running struct {
	id, image string
	alive     bool
	startedAt time.Time
	// addrs are where its internal ports are published.
	addrs map[int]netip.AddrPort
}

// addr returns where the instance is called, none if it listens nowhere.
func (c running) addr(run registry.Run) netip.AddrPort {
	if len(run.Ports) == 0 {
		return netip.AddrPort{}
	}
	return c.addrs[run.Ports[0].Internal]
}

// ports returns the run's ports with the real host ports filled in.
func (c running) ports(run registry.Run) []registry.Port {
	var ports []registry.Port
	for _, p := range run.Ports {
		ports = append(ports, registry.Port{Internal: p.Internal, Host: int(c.addrs[p.Internal].Port())})
	}
	return ports
}

func containerName(id string) string { return "svc-" + id }

func (d *docker) owns(labels map[string]string) bool {
	return labels[labelSite] == d.cfg.Site && labels[labelRunner] == d.cfg.ID && labels[labelInstance] != ""
}

// answers asks Docker for a sign of life.
func (d *docker) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, err := d.client.ServerVersion(ctx)
	return err
}

// instances returns the ids of the instances that have a container of ours.
func (d *docker) instances(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	list, err := d.client.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", labelSite+"="+d.cfg.Site), filters.Arg("label", labelRunner+"="+d.cfg.ID))})
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	var ids []string
	for _, c := range list {
		ids = append(ids, c.Labels[labelInstance])
	}
	return ids, nil
}

// inspect looks at an instance's container. One that is not ours is an error:
// it has the name.
func (d *docker) inspect(ctx context.Context, id string) (running, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := d.client.ContainerInspect(ctx, containerName(id))
	if errdefs.IsNotFound(err) {
		return running{}, false, nil
	}
	if err != nil {
		return running{}, false, fmt.Errorf("inspecting container %s: %w", containerName(id), err)
	}
	if !d.owns(info.Config.Labels) {
		return running{}, false, fmt.Errorf("container %s belongs to somebody else", containerName(id))
	}
	c := running{id: info.ID, image: info.Config.Image, alive: info.State.Running, addrs: map[int]netip.AddrPort{}}
	c.startedAt, _ = time.Parse(time.RFC3339Nano, info.State.StartedAt)
	for port, bindings := range info.HostConfig.PortBindings {
		for _, b := range bindings {
			if addr, err := netip.ParseAddrPort(net.JoinHostPort(b.HostIP, b.HostPort)); err == nil {
				c.addrs[port.Int()] = addr
			}
		}
	}
	return c, true, nil
}

// launch makes and starts an instance's container. If it can not be started
// because a dynamic port is taken, that port is returned with the error.
func (d *docker) launch(ctx context.Context, p placed, kept map[int]int, refused map[int]bool) (running, int, error) {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	id, picked, err := d.create(ctx, p, kept, refused)
	if err != nil {
		return running{}, 0, err
	}
	if err := d.client.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		taken := 0
		if registrar.PortTaken(err) {
			taken = named(err, picked)
		}
		return running{}, taken, fmt.Errorf("starting container: %w", err)
	}
	c, here, err := d.inspect(ctx, p.ID)
	if err == nil && !here {
		err = fmt.Errorf("container %s is gone", containerName(p.ID))
	}
	return c, 0, err
}

// create makes the container, with host ports that nothing else has. picked are
// the dynamic ones.
func (d *docker) create(ctx context.Context, p placed, kept map[int]int, refused map[int]bool) (id string, picked map[int]int, err error) {
	d.launching.Lock()
	defer d.launching.Unlock()
	picked, err = d.pick(ctx, p.Run, kept, refused)
	if err != nil {
		return "", nil, err
	}
	inside, outside := d.spec(p, picked)
	created, err := d.client.ContainerCreate(ctx, inside, outside, nil, nil, containerName(p.ID))
	if err != nil {
		return "", nil, fmt.Errorf("creating container %s: %w", containerName(p.ID), err)
	}
	return created.ID, picked, nil
}

// spec returns what Docker is told of the container.
func (d *docker) spec(p placed, picked map[int]int) (*container.Config, *container.HostConfig) {
	exposed, published := nat.PortSet{}, nat.PortMap{}
	for _, port := range p.Run.Ports {
		host := port.Host
		if host == 0 {
			host = picked[port.Internal]
		}
		inside := nat.Port(fmt.Sprintf("%d/tcp", port.Internal))
		exposed[inside] = struct{}{}
		published[inside] = []nat.PortBinding{{HostIP: d.cfg.Backend.String(), HostPort: strconv.Itoa(host)}}
	}
	stop, pids := stopSeconds, int64(pidsLimit)
	memory := int64(p.Run.Resources.Memory)
	return &container.Config{
			Image: p.Run.ImageRef(), Env: p.Run.Envars.Strings(), ExposedPorts: exposed, StopTimeout: &stop,
			Labels: map[string]string{
				labelSite: d.cfg.Site, labelHost: d.cfg.Hostname, labelRunner: d.cfg.ID,
				labelDeployment: p.deployment, labelInstance: p.ID,
			},
		}, &container.HostConfig{
			PortBindings: published,
			// Restarting is the worker's: it counts, waits and tells.
			RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
			Resources: container.Resources{
				Memory: memory, MemorySwap: memory, NanoCPUs: int64(p.Run.Resources.CPU) * 1_000_000, PidsLimit: &pids,
			},
			CapDrop: []string{"ALL"}, CapAdd: capabilities, SecurityOpt: []string{"no-new-privileges"},
			LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "3"}},
		}
}

// wait returns when the container has died, with a deathError, or when Docker
// can not tell any more.
func (d *docker) wait(ctx context.Context, c running) error {
	died, broken := d.client.ContainerWait(ctx, c.id, container.WaitConditionNotRunning)
	select {
	case end := <-died:
		return deathError{exitCode: int(end.StatusCode), lived: time.Since(c.startedAt), last: d.lastWords(ctx, c.id)}
	case err := <-broken:
		return fmt.Errorf("waiting for the container's end: %w", err)
	}
}

// lastWords returns the last line that a container said.
func (d *docker) lastWords(ctx context.Context, id string) string {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	logs, err := d.client.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: "1"})
	if err != nil {
		return ""
	}
	defer logs.Close()
	var said bytes.Buffer
	if _, err := stdcopy.StdCopy(&said, &said, logs); err != nil {
		return ""
	}
	words := strings.TrimSpace(said.String())
	return words[max(0, len(words)-lastWords):]
}

// stop lets the container stop by itself, and kills it if it does not in time.
func (d *docker) stop(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, stopSeconds*time.Second+workTimeout)
	defer cancel()
	if err := d.client.ContainerStop(ctx, id, container.StopOptions{}); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("stopping container: %w", err)
	}
	return nil
}

// remove kills and removes a container; it is no error if it is gone.
func (d *docker) remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	err := d.client.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("removing container: %w", err)
	}
	return nil
}
