package registry

import (
	"net/http"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// listInstances returns the instances that every given filter selects.
func (a *API) listInstances(r *http.Request) (int, any, error) {
	f, err := readFilter(r)
	if err != nil {
		return 0, nil, err
	}
	selected := []Instance{}
	a.view(func(t *Tables, now time.Time) {
		for _, in := range t.InstanceList(now) {
			if f.matches(in) {
				selected = append(selected, in)
			}
		}
	})
	return http.StatusOK, map[string]any{"instances": selected}, nil
}

func readFilter(r *http.Request) (Filter, error) {
	var f Filter
	fields := map[string]*string{
		"scheme": &f.Scheme, "ip": &f.IP, "deploymentId": &f.DeploymentID, "host": &f.Host,
		"path": &f.Path, "id": &f.ID, "slug": &f.Slug,
	}
	for name, values := range r.URL.Query() {
		into, known := fields[name]
		if !known {
			return f, FieldError{name, "there is no such filter"}
		}
		*into = values[0]
	}
	return f, nil
}

func (a *API) getInstance(r *http.Request) (int, any, error) {
	var found []Instance
	a.view(func(t *Tables, now time.Time) {
		for _, in := range t.InstanceList(now) {
			if in.ID == pathID(r) {
				found = append(found, in)
			}
		}
	})
	if len(found) == 0 {
		return 0, nil, notFound("instance", pathID(r))
	}
	return http.StatusOK, map[string]any{"instance": found[0]}, nil
}

// putInstance registers an instance that runs by itself, or is its heartbeat.
func (a *API) putInstance(r *http.Request) (int, any, error) {
	var in Instance
	if err := readBody(r, "instance", &in); err != nil {
		return 0, nil, err
	}
	if err := adopt(&in.ID, r); err != nil {
		return 0, nil, err
	}
	if err := in.complete(); err != nil {
		return 0, nil, err
	}
	if err := validSlug(in.Slug); err != nil {
		return 0, nil, err
	}
	if in.ID != "" {
		if err := validID("id", in.ID); err != nil {
			return 0, nil, err
		}
	}
	fresh := NewID("inst")
	now := time.Now().UTC().Truncate(time.Second)
	var written Instance
	err := a.change(r.Context(), "register instance "+in.URL, func(tx *state.Tx) (err error) {
		written, err = a.tables.putInstance(tx, in, fresh, now)
		return err
	})
	return http.StatusOK, map[string]any{"instance": written}, err
}

// putInstance writes a registered instance. One without an id is the one that
// has its URL already, or a new one.
func (t *Tables) putInstance(tx *state.Tx, in Instance, fresh string, now time.Time) (Instance, error) {
	if in.ID == "" {
		in.ID = fresh
		if kv, taken := tx.Get(state.InstanceURLKey(in.URL)); taken {
			in.ID = string(kv.Value)
		}
	}
	old, there, err := state.Load(tx, state.RegisteredKey(in.ID), state.JSON[InstanceRecord])
	if err != nil {
		return in, err
	}
	// A heartbeat says nothing new.
	if !there || old.Node != "" || old.Backend != "" || old.URL != in.URL {
		if err := t.checkPlace(tx, in, now); err != nil {
			return in, err
		}
	}
	if in.DeploymentID != "" {
		if _, there := tx.Get(state.DeploymentKey(in.DeploymentID)); !there {
			return in, FieldError{"deploymentId", "there is no deployment '" + in.DeploymentID + "'"}
		}
	}
	// What the prober found holds for as long as it is the same place.
	in.Status, in.Details = InstanceUnknown, ""
	if old.URL == in.URL {
		in.Status, in.Details = old.Status, old.Details
	}
	in.NodeURL, in.Role, in.Ports, in.LastHeartbeat = "", "", nil, now
	owner, err := PutInstance(tx, InstanceRecord{Instance: in}, false)
	if err == nil && owner != "" {
		err = urlTaken(in.URL, owner)
	}
	return in, err
}

// checkPlace refuses an id and a URL that are somebody else's.
func (t *Tables) checkPlace(tx *state.Tx, in Instance, now time.Time) error {
	if err := t.checkOwn(tx, in.ID, "registered"); err != nil {
		return err
	}
	for _, db := range t.databaseInstances(now) {
		if db.URL == in.URL {
			return urlTaken(in.URL, db.ID)
		}
	}
	return nil
}

func urlTaken(url, owner string) Problem {
	p := conflict("url '%s' belongs to instance '%s'", url, owner)
	p.Field = "url"
	return p
}

// checkOwn refuses what is not for callers to change: instances that
// registrars run.
func (t *Tables) checkOwn(tx *state.Tx, id, what string) error {
	if t.isDatabaseNode(id) {
		return conflict("instance '%s' is the node of a cluster: it is changed only by the broker", id)
	}
	record, _, err := state.Load(tx, state.RegisteredKey(id), state.JSON[InstanceRecord])
	if err != nil {
		return err
	}
	if record.Node != "" || t.placed(id) {
		return conflict("instance '%s' is run by a registrar: it can not be %s", id, what)
	}
	return nil
}

// placed reports whether a deployment has a placement of that id.
func (t *Tables) placed(id string) bool {
	for d := range t.Deployments.All() {
		for _, p := range d.Value.Placements {
			if p.ID == id {
				return true
			}
		}
	}
	return false
}

func (a *API) deleteInstance(r *http.Request) (int, any, error) {
	id := pathID(r)
	err := a.change(r.Context(), "delete instance "+id, func(tx *state.Tx) error {
		if err := a.tables.checkOwn(tx, id, "deleted; change its deployment"); err != nil {
			return err
		}
		if _, there := tx.Get(state.RegisteredKey(id)); !there {
			return notFound("instance", id)
		}
		return DropInstance(tx, id)
	})
	return http.StatusOK, struct{}{}, err
}
