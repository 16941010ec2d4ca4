package deploy

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

// pick chooses the run's dynamic ports: those that it had, else the lowest that
// are free.
func (d *docker) pick(ctx context.Context, run registry.Run, kept map[int]int, refused map[int]bool) (map[int]int, error) {
	held, err := d.held(ctx)
	if err != nil {
		return nil, err
	}
	maps.Copy(held, refused)
	free := func(port int) bool { return !held[port] && !registrar.PortInUse(ctx, d.cfg.Backend, port) }
	picked := map[int]int{}
	for _, p := range run.Ports {
		if p.Host != 0 {
			continue
		}
		port := kept[p.Internal]
		if port == 0 || !free(port) {
			if port = lowest(d.cfg.Ports, free); port == 0 {
				return nil, fmt.Errorf("no host port left in %v on %v", d.cfg.Ports, d.cfg.Backend)
			}
		}
		picked[p.Internal], held[port] = port, true
	}
	return picked, nil
}

// lowest returns the lowest port of a range that is free, 0 if none is.
func lowest(ports state.Ports, free func(int) bool) int {
	for port := ports.First; port <= ports.Last; port++ {
		if free(port) {
			return port
		}
	}
	return 0
}

// held returns the host ports that instances' containers on this Docker have,
// whoever runs them and whether or not they run now.
func (d *docker) held(ctx context.Context) (map[int]bool, error) {
	list, err := d.client.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", labelInstance))})
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	held := map[int]bool{}
	for _, c := range list {
		info, err := d.client.ContainerInspect(ctx, c.ID)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("inspecting container %s: %w", c.ID, err)
		}
		for _, bindings := range info.HostConfig.PortBindings {
			for _, b := range bindings {
				if port, err := strconv.Atoi(b.HostPort); err == nil && b.HostIP == d.cfg.Backend.String() {
					held[port] = true
				}
			}
		}
	}
	return held, nil
}

// named returns which of the ports an error names, else the first of them.
func named(err error, ports map[int]int) int {
	first := 0
	for _, port := range ports {
		if strings.Contains(err.Error(), ":"+strconv.Itoa(port)) {
			return port
		}
		first = port
	}
	return first
}
