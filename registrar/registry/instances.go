package registry

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// InstanceList returns every instance, by id: those that registrars run, those
// that registered themselves, and the nodes of databases.
func (t *Tables) InstanceList(now time.Time) []Instance {
	all := t.databaseInstances(now)
	for e := range t.Instances.All() {
		if e.Value.Backend == "" {
			all = append(all, t.instance(e.Value, now))
		}
	}
	for d := range t.Deployments.All() {
		for _, p := range d.Value.Live() {
			if _, there := t.Instances.Get(p.ID); !there {
				all = append(all, t.unpublished(d.Value, p))
			}
		}
	}
	slices.SortFunc(all, func(a, b Instance) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// instance returns a stored instance as it is told.
func (t *Tables) instance(r InstanceRecord, now time.Time) Instance {
	in := r.Instance
	if r.Node == "" {
		return in
	}
	// Its record is under its registrar's lease: it lives as long as the node.
	if n, there := t.Node(r.Node, now); there {
		in.NodeURL, in.LastHeartbeat = n.URL, n.LastHeartbeat
	}
	if d, there := t.Deployments.Get(in.DeploymentID); there {
		in.Slug = cmp.Or(d.Value.Slug, d.Value.ID)
	}
	return in
}

// unpublished returns the instance of a placement of which its node has said
// nothing, or nothing any more.
func (t *Tables) unpublished(r DeploymentRecord, p Placement) Instance {
	in := Instance{
		ID: p.ID, DeploymentID: r.ID, Slug: cmp.Or(r.Slug, r.ID), Scheme: p.Run.Scheme, Path: p.Run.Path,
		Status: InstanceUnknown, Details: "placed on node " + p.Node,
	}
	b, alive := t.Backends.Get(p.Node)
	if !alive {
		in.Status, in.Details = InstanceUnreachable, "node "+p.Node+" is unreachable"
		return in
	}
	in.NodeURL, in.Host = b.Value.URL, b.Value.Hostname
	return in
}

// Healthy reports whether the placement's instance runs and answers.
func (t *Tables) Healthy(p Placement) bool {
	e, there := t.Instances.Get(p.ID)
	return there && e.Value.Status == InstanceHealthy
}

// Told reports whether the placement's node has said anything of its instance.
func (t *Tables) Told(p Placement) bool {
	_, there := t.Instances.Get(p.ID)
	return there
}

// Filter selects instances. An empty field selects all.
type Filter struct {
	Scheme, IP, DeploymentID, Host, Path, ID, Slug string
}

// matches reports whether the instance is selected.
func (f Filter) matches(in Instance) bool {
	for _, field := range []struct{ want, is string }{
		{f.Scheme, in.Scheme}, {f.IP, in.IP}, {f.DeploymentID, in.DeploymentID}, {f.Host, in.Host},
		{f.Path, in.Path}, {f.ID, in.ID}, {f.Slug, in.Slug},
	} {
		if field.want != "" && field.want != field.is {
			return false
		}
	}
	return true
}

// PutInstance writes an instance and makes its URL its own, in one transaction,
// under the engine's session if leased. If the URL belongs to another instance
// it writes nothing and returns that one's id.
func PutInstance(tx *state.Tx, r InstanceRecord, leased bool) (owner string, err error) {
	old, _, err := state.Load(tx, state.RegisteredKey(r.ID), state.JSON[InstanceRecord])
	if err != nil {
		return "", err
	}
	value, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encoding instance %s: %w", r.ID, err)
	}
	put := tx.Put
	if leased {
		put = tx.PutLeased
	}
	if r.URL != "" {
		if kv, taken := tx.Get(state.InstanceURLKey(r.URL)); taken && string(kv.Value) != r.ID {
			return string(kv.Value), nil
		}
		put(state.InstanceURLKey(r.URL), []byte(r.ID))
	}
	if old.URL != r.URL {
		dropURL(tx, old)
	}
	put(state.RegisteredKey(r.ID), value)
	return "", nil
}

// DropInstance deletes an instance and lets go of its URL.
func DropInstance(tx *state.Tx, id string) error {
	old, there, err := state.Load(tx, state.RegisteredKey(id), state.JSON[InstanceRecord])
	if err != nil || !there || old.Backend != "" {
		return err
	}
	dropURL(tx, old)
	tx.Delete(state.RegisteredKey(id))
	return nil
}

// dropURL lets go of an instance's URL, if it is its own.
func dropURL(tx *state.Tx, r InstanceRecord) {
	key := state.InstanceURLKey(r.URL)
	if kv, there := tx.Get(key); there && string(kv.Value) == r.ID {
		tx.Delete(key)
	}
}
