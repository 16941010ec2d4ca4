package registrar

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	dockercontainer "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/go-connections/nat"

	"github.com/pgpatron/pgpatron/state"
)

// labelAnnounce asks for a container to be announced, whosever it is: by its
// internal ports and, if that is not to be the image's, a name.
//
//	pgpatron.announce=5432,name=orders
const labelAnnounce = "pgpatron.announce"

// wish is what a label asks for.
type wish struct {
	name  string
	ports []int
}

// parseWish reads the label of a container made from image.
func parseWish(label, image string) (wish, error) {
	repository, _, _ := strings.Cut(path.Base(image), ":")
	w := wish{name: repository}
	for item := range strings.SplitSeq(label, ",") {
		item = strings.TrimSpace(item)
		if name, ok := strings.CutPrefix(item, "name="); ok {
			w.name = name
			continue
		}
		port, err := strconv.Atoi(item)
		if err != nil || port < 1 || port > 65535 {
			return wish{}, fmt.Errorf("want ports and name=NAME, separated by commas, got %q", label)
		}
		w.ports = append(w.ports, port)
	}
	switch {
	case len(w.ports) == 0:
		return wish{}, errors.New("it names no port")
	case !hostname.MatchString(w.name):
		return wish{}, fmt.Errorf("%q can not be a name: want letters, digits, dots and dashes", w.name)
	case state.IsReserved(w.name):
		return wish{}, fmt.Errorf("the name %q is taken by pgpatron itself", w.name)
	}
	return w, nil
}

// foreigner is a container that runs and asks to be announced.
type foreigner struct {
	id, name, image, label string
	hostNetwork            bool
	// ports are the published ones.
	ports nat.PortMap
}

// foreigners looks at what runs and asks to be announced here, but for nodes.
// The list alone will not do: right after a death it still shows the container
// as running.
func (d *docker) foreigners(ctx context.Context) ([]foreigner, error) {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	wanted := filters.NewArgs(filters.Arg("label", labelAnnounce))
	list, err := d.client.ContainerList(ctx, dockercontainer.ListOptions{All: true, Filters: wanted})
	if err != nil {
		return nil, fmt.Errorf("listing containers to announce: %w", err)
	}
	var found []foreigner
	for _, c := range list {
		if !d.owner.serves(c.Labels) {
			continue
		}
		info, err := d.client.ContainerInspect(ctx, c.ID)
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("inspecting container %s: %w", c.ID, err)
		}
		if err == nil && info.State.Running {
			found = append(found, foreignerOf(info))
		}
	}
	return found, nil
}

func foreignerOf(info dockercontainer.InspectResponse) foreigner {
	f := foreigner{
		id: info.ID, name: strings.TrimPrefix(info.Name, "/"), image: info.Config.Image, label: info.Config.Labels[labelAnnounce],
		hostNetwork: info.HostConfig.NetworkMode.IsHost(),
	}
	if info.NetworkSettings != nil {
		f.ports = info.NetworkSettings.Ports
	}
	return f
}

// serves reports whether a container that is no node is for this registrar to
// announce: unless it names another's backend or site, it is.
func (o owner) serves(labels map[string]string) bool {
	backend, named := labels[labelBackend]
	site, sited := labels[labelSite]
	return labels[labelNode] == "" && (!named || backend == o.backend) && (!sited || site == o.site)
}

// published returns where the world reaches an internal port. A port that is
// published for this host alone is none.
func (f foreigner) published(internal int, at netip.Addr) (netip.AddrPort, error) {
	if f.hostNetwork {
		return netip.AddrPortFrom(at, uint16(internal)), nil
	}
	for _, b := range f.ports[tcpPort(internal)] {
		port, err := strconv.ParseUint(b.HostPort, 10, 16)
		if err != nil || port == 0 {
			continue
		}
		addr, err := netip.ParseAddr(b.HostIP)
		if err != nil || addr.IsUnspecified() {
			addr = at
		}
		if addr == at || !addr.IsLoopback() {
			return netip.AddrPortFrom(addr, uint16(port)), nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("port %d is not published", internal)
}
