package registry

import (
	"net/http"
	"slices"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

func (a *API) listNodes(*http.Request) (int, any, error) {
	all := []Node{}
	a.view(func(t *Tables, now time.Time) { all = append(all, t.Nodes(now)...) })
	return http.StatusOK, map[string]any{"nodes": all}, nil
}

func (a *API) getSelf(*http.Request) (int, any, error) { return a.nodeOf(a.cfg.Self) }

func (a *API) getNode(r *http.Request) (int, any, error) { return a.nodeOf(pathID(r)) }

func (a *API) nodeOf(id string) (int, any, error) {
	var n Node
	var there bool
	a.view(func(t *Tables, now time.Time) { n, there = t.Node(id, now) })
	if !there {
		return 0, nil, notFound("node", id)
	}
	return http.StatusOK, map[string]any{"node": n}, nil
}

// putNode changes what is an operator's to say of a node: whether it is
// cordoned. All else the node says itself.
func (a *API) putNode(r *http.Request) (int, any, error) {
	var wanted Node
	if err := readBody(r, "node", &wanted); err != nil {
		return 0, nil, err
	}
	if err := adopt(&wanted.ID, r); err != nil {
		return 0, nil, err
	}
	if wanted.ID == "" {
		return 0, nil, FieldError{"id", "must be set"}
	}
	var is Node
	var there bool
	a.view(func(t *Tables, now time.Time) { is, there = t.Node(wanted.ID, now) })
	if !there {
		return 0, nil, notFound("node", wanted.ID)
	}
	if err := is.checkSame(wanted); err != nil {
		return 0, nil, err
	}
	err := a.change(r.Context(), "cordon node "+is.ID, func(tx *state.Tx) error {
		if wanted.Cordoned {
			tx.Put(state.CordonKey(is.ID), []byte(state.Disabled))
		} else {
			tx.Delete(state.CordonKey(is.ID))
		}
		return nil
	})
	is.Cordoned = wanted.Cordoned
	return http.StatusOK, map[string]any{"node": is}, err
}

// checkSame refuses to change what a node says of itself.
func (n Node) checkSame(wanted Node) error {
	for _, f := range []struct{ field, is, wanted string }{
		{"url", n.URL, wanted.URL}, {"availabilityZone", n.AvailabilityZone, wanted.AvailabilityZone},
		{"region", n.Region, wanted.Region}, {"hostname", n.Hostname, wanted.Hostname},
	} {
		if f.wanted != "" && f.wanted != f.is {
			return FieldError{f.field, "is what the node's registrar is configured with"}
		}
	}
	return nil
}

// deleteNode forgets a node that does not come back, and the instances that it
// should still have removed. It holds for nodes alone that are unreachable.
func (a *API) deleteNode(r *http.Request) (int, any, error) {
	id := pathID(r)
	err := a.change(r.Context(), "forget node "+id, func(tx *state.Tx) error { return a.tables.deleteNode(tx, id) })
	return http.StatusOK, struct{}{}, err
}

func (t *Tables) deleteNode(tx *state.Tx, id string) error {
	if _, alive := tx.Get(state.BackendKey(id)); alive {
		return conflict("node '%s' is not unreachable: end its registrar first", id)
	}
	if n := t.clusterOn(id); n != "" {
		return conflict("node '%s' has a node of cluster '%s'", id, n)
	}
	_, known := tx.Get(state.HostKey(id))
	for d := range t.Deployments.All() {
		forgot, err := forgetPlacements(tx, d.Value.ID, id)
		if err != nil {
			return err
		}
		known = known || forgot
	}
	if !known {
		return notFound("node", id)
	}
	tx.Delete(state.HostKey(id))
	tx.Delete(state.CordonKey(id))
	return nil
}

// clusterOn returns a cluster that has a node there, "" if none has.
func (t *Tables) clusterOn(node string) string {
	for e := range t.clusters.All() {
		c := e.Value.read()
		for _, n := range c.Nodes {
			if n.BackendID == node {
				return c.InstanceID
			}
		}
	}
	return ""
}

// forgetPlacements takes a node's placements out of a deployment's record.
func forgetPlacements(tx *state.Tx, deployment, node string) (forgot bool, err error) {
	key := state.DeploymentKey(deployment)
	record, _, err := state.Load(tx, key, state.JSON[DeploymentRecord])
	if err != nil {
		return false, err
	}
	before := len(record.Placements)
	record.Placements = slices.DeleteFunc(record.Placements, func(p Placement) bool { return p.Node == node })
	if len(record.Placements) == before {
		return false, nil
	}
	tx.PutJSON(key, record)
	return true, nil
}
