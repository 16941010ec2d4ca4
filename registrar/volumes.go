package registrar

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	dockervolume "github.com/docker/docker/api/types/volume"
)

// errForeign says that what has the name of a container or volume of ours is
// somebody else's.
var errForeign = errors.New("belongs to somebody else")

// volume is what Docker says of one node's volume.
type volume struct {
	name, node, instance, site string
	ports                      hostPorts
}

func volumeOf(v dockervolume.Volume) volume {
	return volume{name: v.Name, node: v.Labels[labelNode], instance: v.Labels[labelCluster], site: v.Labels[labelSite], ports: portsOf(v.Labels)}
}

// complete reports whether the volume holds every host port of its node.
func (v volume) complete() bool { return len(v.ports) == len(internalPorts) }

// volumes returns the volumes that carry all of these labels.
func (d *docker) volumes(ctx context.Context, wanted filters.Args) ([]volume, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	list, err := d.client.VolumeList(ctx, dockervolume.ListOptions{Filters: wanted})
	if err != nil {
		return nil, fmt.Errorf("listing volumes: %w", err)
	}
	var found []volume
	for _, v := range list.Volumes {
		found = append(found, volumeOf(*v))
	}
	return found, nil
}

// volume looks at the volume of that name; one that is not ours does not exist.
func (d *docker) volume(ctx context.Context, name string) (volume, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	v, err := d.client.VolumeInspect(ctx, name)
	if errdefs.IsNotFound(err) || err == nil && !d.owner.owns(v.Labels) {
		return volume{}, false, nil
	}
	if err != nil {
		return volume{}, false, fmt.Errorf("inspecting volume %s: %w", name, err)
	}
	return volumeOf(v), true, nil
}

// createVolume makes a volume of ours. Docker takes one that exists for a new
// one, whoever's it is: errForeign then.
func (d *docker) createVolume(ctx context.Context, name string, labels map[string]string) (volume, error) {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	v, err := d.client.VolumeCreate(ctx, dockervolume.CreateOptions{Name: name, Labels: labels})
	if err != nil {
		return volume{}, fmt.Errorf("creating volume %s: %w", name, err)
	}
	if !d.owner.owns(v.Labels) {
		return volume{}, fmt.Errorf("volume %s exists and %w", name, errForeign)
	}
	return volumeOf(v), nil
}

// removeVolume removes a volume; it is no error if it is gone.
func (d *docker) removeVolume(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	if err := d.client.VolumeRemove(ctx, name, false); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("removing volume %s: %w", name, err)
	}
	return nil
}
