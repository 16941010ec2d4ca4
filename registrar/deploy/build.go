package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

const (
	buildTimeout = 30 * time.Minute
	// keptLog is how much of a build's log is kept: its end tells why it failed.
	keptLog = 64 << 10
)

// builder makes images from repositories, one at a time.
type builder struct {
	docker *docker
	engine *state.Engine
	log    *slog.Logger
	node   string

	mu sync.Mutex
}

// buildError says that a build failed for a reason that lies in its source.
type buildError struct{ reason string }

// Error tells the reason.
func (e buildError) Error() string { return "build failed: " + e.reason }

// need sees to it that the host has the run's image, and builds it if not.
// building is told before it begins to.
func (b *builder) need(ctx context.Context, run registry.Run, building func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	has, err := b.hasImage(ctx, run.ImageRef())
	if err != nil || has {
		return err
	}
	building()
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	record := registry.Build{
		DefinitionID: run.DefinitionID, NodeID: b.node, Image: run.ImageRef(), Status: registry.BuildRunning,
		Started: time.Now().UTC(),
	}
	if err := b.keep(ctx, record); err != nil {
		return err
	}
	log := &tail{limit: keptLog}
	err = b.build(ctx, run, log)
	if registrar.DockerSilent(err) || ctx.Err() != nil {
		return err
	}
	record.Status, record.Log, record.Finished = registry.BuildSucceeded, log.String(), time.Now().UTC()
	if err != nil {
		record.Status, record.Details = registry.BuildFailed, err.Error()
		err = buildError{err.Error()}
	}
	b.log.InfoContext(ctx, "image was built", "definition", run.DefinitionID, "image", record.Image, "took", record.Finished.Sub(record.Started), "err", err)
	return errors.Join(err, b.keep(ctx, record))
}

func (b *builder) hasImage(ctx context.Context, ref string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, err := b.docker.client.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// keep writes how the build goes, as long as its definition is there.
func (b *builder) keep(ctx context.Context, record registry.Build) error {
	return b.engine.Do(ctx, state.Group{Name: "build of " + record.DefinitionID, Apply: func(tx *state.Tx) error {
		if _, there := tx.Get(state.DefinitionKey(record.DefinitionID)); there {
			tx.PutJSON(state.BuildKey(record.DefinitionID, record.NodeID), record)
		}
		return nil
	}})
}

// build fetches the source and has Docker build it.
func (b *builder) build(ctx context.Context, run registry.Run, log io.Writer) error {
	src, err := fetch(ctx, *run.Repository, log)
	if err != nil {
		return err
	}
	defer src.close()
	pack, unpack := io.Pipe()
	defer pack.Close()
	go func() { unpack.CloseWithError(src.pack(unpack)) }()
	resp, err := b.docker.client.ImageBuild(ctx, pack, build.ImageBuildOptions{
		Tags: []string{run.ImageRef()}, Dockerfile: src.containerFile, Remove: true, ForceRemove: true,
		Labels: map[string]string{labelSite: b.docker.cfg.Site, labelHost: b.docker.cfg.Hostname, labelImage: run.ImageRef()},
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return follow(resp.Body, log)
}

// follow copies what a build says, and returns why it failed.
func follow(body io.Reader, log io.Writer) error {
	for dec := json.NewDecoder(body); ; {
		var line struct {
			Stream string `json:"stream"`
			Status string `json:"status"`
			Error  string `json:"error"`
		}
		switch err := dec.Decode(&line); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading the build's log: %w", err)
		case line.Error != "":
			fmt.Fprintln(log, line.Error)
			return errors.New(strings.TrimSpace(line.Error))
		case line.Status != "":
			fmt.Fprintln(log, line.Status)
		default:
			fmt.Fprint(log, line.Stream)
		}
	}
}

// dropImage removes an image that was built here, and what was built under its
// name before. One that a container needs stays: Docker refuses.
func (d *docker) dropImage(ctx context.Context, ref string) {
	if !strings.HasPrefix(ref, registry.BuiltImages+":") {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	built := filters.NewArgs(filters.Arg("label", labelImage+"="+ref))
	images, err := d.client.ImageList(ctx, image.ListOptions{Filters: built})
	if err != nil {
		return // it takes up some disk, no more
	}
	for _, i := range images {
		_, _ = d.client.ImageRemove(ctx, i.ID, image.RemoveOptions{PruneChildren: true})
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	limit int
	text  []byte
}

// Write never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-t.limit):]
	return len(b), nil
}

// String returns what was kept.
func (t *tail) String() string { return strings.ToValidUTF8(string(t.text), "") }
