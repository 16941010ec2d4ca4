package registrar

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	dockercontainer "github.com/docker/docker/api/types/container"
)

// errExists says that a container of that name exists, whoever's it is.
var errExists = errors.New("container exists")

// containers looks at every container of ours.
func (d *docker) containers(ctx context.Context) ([]container, error) {
	listCtx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	list, err := d.client.ContainerList(listCtx, dockercontainer.ListOptions{All: true, Filters: d.owner.filter()})
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	var found []container
	for _, summary := range list {
		c, ok, err := d.inspect(ctx, summary.ID)
		if err != nil {
			return nil, err
		}
		if ok && c.name == containerName(c.node) {
			found = append(found, c)
		}
	}
	return found, nil
}

// inspect looks at one container, by id or name; one that is not ours does not
// exist. Docker keeps a container locked while it cleans up after its death:
// the answer may take some 150 ms then.
func (d *docker) inspect(ctx context.Context, ref string) (container, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := d.client.ContainerInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return container{}, false, nil
	}
	if err != nil {
		return container{}, false, fmt.Errorf("inspecting container %s: %w", ref, err)
	}
	if !d.owner.owns(info.Config.Labels) {
		return container{}, false, nil
	}
	return containerOf(info), true, nil
}

// createContainer makes a container and returns its id.
func (d *docker) createContainer(ctx context.Context, s spec) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	created, err := d.client.ContainerCreate(ctx, s.container(), s.host(), nil, nil, s.name)
	if errdefs.IsConflict(err) {
		return "", errExists
	}
	if err != nil {
		return "", fmt.Errorf("creating container %s: %w", s.name, err)
	}
	return created.ID, nil
}

// readFile returns a file in a container, whether that runs or not. ok is false if
// there is none.
func (d *docker) readFile(ctx context.Context, id, path string) (content []byte, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	stream, _, err := d.client.CopyFromContainer(ctx, id, path)
	if errdefs.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading %s in the container: %w", path, err)
	}
	defer stream.Close()
	r := tar.NewReader(stream)
	if _, err = r.Next(); err == nil {
		content, err = io.ReadAll(r)
	}
	return content, err == nil, err
}

// copyFile puts a file into a container's volume, for one user to read. The
// container may run.
func (d *docker) copyFile(ctx context.Context, id, file string, content []byte, uid, gid int) error {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	folder, name := path.Split(file)
	header := &tar.Header{Name: name, Mode: 0o400, Uid: uid, Gid: gid, Size: int64(len(content)), ModTime: time.Now()}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := d.client.CopyToContainer(ctx, id, folder, &b, dockercontainer.CopyToContainerOptions{}); err != nil {
		return fmt.Errorf("copying %s into the container: %w", name, err)
	}
	return nil
}

// start starts a container; one that runs is left running.
func (d *docker) start(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	return d.client.ContainerStart(ctx, id, dockercontainer.StartOptions{})
}

// stop asks a container to stop by itself, and kills it if it does not in the
// time that it was made with.
func (d *docker) stop(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, stopSeconds*time.Second+workTimeout)
	defer cancel()
	if err := d.client.ContainerStop(ctx, id, dockercontainer.StopOptions{}); err != nil {
		return fmt.Errorf("stopping container: %w", err)
	}
	return nil
}

// reload has what runs in a container read its files again.
func (d *docker) reload(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := d.client.ContainerKill(ctx, id, "HUP"); err != nil {
		return fmt.Errorf("telling the container to look again: %w", err)
	}
	return nil
}

// kill ends a container at once, a paused one too; it is no error if it does not
// run.
func (d *docker) kill(ctx context.Context, id string) error {
	err := d.client.ContainerKill(ctx, id, "KILL")
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return nil
	}
	return err
}

// removeContainer kills and removes a container; it is no error if it is gone.
func (d *docker) removeContainer(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	err := d.client.ContainerRemove(ctx, id, dockercontainer.RemoveOptions{Force: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("removing container: %w", err)
	}
	return nil
}

// portTaken reports whether err, of starting a container, says that a host port
// of it is in use.
func portTaken(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "port is already allocated") || strings.Contains(err.Error(), "address already in use"))
}
