package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/go-chi/chi/v5"
)

// maxBody bounds a request's body.
const maxBody = 1 << 20

// Routes adds the API's paths to router, which lets in whom it should and hands
// out path segments as they were sent.
func Routes(router chi.Router, site Site, log *slog.Logger) {
	h := handler{site: site, log: log}
	router.Get("/instances", h.get(h.instances))
	router.Get("/instances/{id}", h.get(h.instance))
	router.Patch("/instances/{id}", h.change)
	router.Post("/instances/{id}/recreate", h.act(h.recreate))
	router.Post("/instances/{id}/rotate", h.act(h.rotate))
	router.Post("/instances/{id}/operation/resume", h.act(h.resume))
	router.Post("/instances/{id}/operation/abandon", h.act(h.abandon))
	router.Post("/instances/{id}/move", h.act(h.move))
	router.Delete("/instances/{id}/forward", h.get(h.stopForwarding))
	router.Get("/operations", h.get(h.operations))
	router.Get("/backends", h.get(h.backends))
	router.Get("/backends/{id}", h.get(h.backend))
	router.Put("/backends/{id}/cordon", h.get(throwing(site.Cordon, true)))
	router.Delete("/backends/{id}/cordon", h.get(throwing(site.Cordon, false)))
	router.Post("/backends/{id}/drain", h.act(acting(site.Drain)))
	router.Get("/routers", h.get(h.routers))
	router.Post("/routers/{id}/disable", h.get(throwing(site.SwitchRouter, true)))
	router.Post("/routers/{id}/enable", h.get(throwing(site.SwitchRouter, false)))
	router.Get("/replicas", h.get(h.replicas))
	router.Post("/replicas/{id}/disable", h.get(throwing(site.SwitchReplica, true)))
	router.Post("/replicas/{id}/enable", h.get(throwing(site.SwitchReplica, false)))
	router.Get("/ca", h.get(h.siteCA))
	router.Post("/ca/{id}", h.get(h.replaceSiteCA))
	router.Get("/events", h.events)
	router.Get("/top", h.top)
}

type handler struct {
	site Site
	log  *slog.Logger
}

// answer is what a request comes to.
type answer func(ctx context.Context, r *http.Request) (any, error)

// get answers with what there is.
func (h handler) get(find answer) http.HandlerFunc { return h.serve(http.StatusOK, find) }

// act answers that something has begun.
func (h handler) act(do answer) http.HandlerFunc { return h.serve(http.StatusAccepted, do) }

func (h handler) serve(status int, find answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		value, err := find(r.Context(), r)
		write(w, r, h.log, status, value, err)
	}
}

// id returns the id in the path, in which it is percent-encoded.
func id(r *http.Request) string {
	segment := chi.URLParam(r, "id")
	if decoded, err := url.PathUnescape(segment); err == nil {
		return decoded
	}
	return segment
}

func filter(r *http.Request) Filter {
	q := r.URL.Query()
	return Filter{Plan: q.Get("plan"), Backend: q.Get("backend"), State: q.Get("state")}
}

func (h handler) instances(ctx context.Context, r *http.Request) (any, error) {
	return h.site.Instances(ctx, filter(r))
}

func (h handler) instance(ctx context.Context, r *http.Request) (any, error) {
	return h.site.Instance(ctx, id(r))
}

// change answers 200 to a dry run, because nothing has begun.
func (h handler) change(w http.ResponseWriter, r *http.Request) {
	dryRun := false
	op, err := func() (Operation, error) {
		var err error
		if dryRun, err = flag(r, "dry_run"); err != nil {
			return Operation{}, err
		}
		change, err := readChange(w, r)
		if err != nil {
			return Operation{}, err
		}
		return h.site.Change(r.Context(), id(r), change, dryRun)
	}()
	status := http.StatusAccepted
	if dryRun {
		status = http.StatusOK
	}
	write(w, r, h.log, status, op, err)
}

// readChange reads a body that is one JSON object of known fields.
func readChange(w http.ResponseWriter, r *http.Request) (Change, error) {
	var change Change
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&change); err != nil {
		return change, Errorf(http.StatusBadRequest, "body: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return change, Errorf(http.StatusBadRequest, "body: holds more than one JSON object")
	}
	return change, nil
}

func (h handler) recreate(ctx context.Context, r *http.Request) (any, error) {
	if r.URL.Query().Get("lose_data") != "true" {
		return nil, Errorf(http.StatusBadRequest, "lose_data: must be true: an instance that is made anew is empty")
	}
	return h.site.Recreate(ctx, id(r))
}

func (h handler) rotate(ctx context.Context, r *http.Request) (any, error) {
	return h.site.Rotate(ctx, id(r))
}

func (h handler) move(ctx context.Context, r *http.Request) (any, error) {
	site := r.URL.Query().Get("site")
	if site == "" {
		return nil, Errorf(http.StatusBadRequest, "site: must name the datacenter to move to")
	}
	return h.site.Move(ctx, id(r), site)
}

func (h handler) stopForwarding(ctx context.Context, r *http.Request) (any, error) {
	return h.site.StopForwarding(ctx, id(r))
}

func (h handler) resume(ctx context.Context, r *http.Request) (any, error) {
	return h.site.Resume(ctx, id(r))
}

func (h handler) abandon(ctx context.Context, r *http.Request) (any, error) {
	return h.site.Abandon(ctx, id(r))
}

func (h handler) operations(ctx context.Context, r *http.Request) (any, error) {
	return h.site.Operations(ctx, filter(r))
}

func (h handler) backends(ctx context.Context, _ *http.Request) (any, error) {
	return h.site.Backends(ctx)
}

func (h handler) backend(ctx context.Context, r *http.Request) (any, error) {
	return h.site.Backend(ctx, id(r))
}
