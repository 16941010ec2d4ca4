package registry

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// NewID returns an id that nothing has, beginning with prefix.
func NewID(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()[:10]) }

func (a *API) listDeployments(*http.Request) (int, any, error) {
	all := []Deployment{}
	a.view(func(t *Tables, now time.Time) { all = append(all, t.DeploymentList(now)...) })
	return http.StatusOK, map[string]any{"deployments": all}, nil
}

func (a *API) getDeployment(r *http.Request) (int, any, error) {
	var d Deployment
	var there bool
	a.view(func(t *Tables, now time.Time) { d, there = t.deploymentOf(pathID(r), now) })
	if !there {
		return 0, nil, notFound("deployment", pathID(r))
	}
	return http.StatusOK, map[string]any{"deployment": d}, nil
}

func (t *Tables) deploymentOf(id string, now time.Time) (Deployment, bool) {
	if e, there := t.Deployments.Get(id); there {
		return t.deployment(e.Value, now), true
	}
	return t.database(id, now)
}

func (a *API) putDeployment(r *http.Request) (int, any, error) {
	d := Deployment{Replicas: 1}
	if err := readBody(r, "deployment", &d); err != nil {
		return 0, nil, err
	}
	if err := adopt(&d.ID, r); err != nil {
		return 0, nil, err
	}
	if d.ID == "" {
		d.ID = NewID("depl")
	}
	if d.Strategy.Type == "" {
		d.Strategy.Type = RollingUpdate
	}
	d.Status, d.Details = "", "" // are not the caller's to say
	if err := d.Validate(); err != nil {
		return 0, nil, err
	}
	err := a.change(r.Context(), "put deployment "+d.ID, func(tx *state.Tx) error { return a.tables.putDeployment(tx, d) })
	if err == nil {
		a.view(func(t *Tables, now time.Time) { d, _ = t.deploymentOf(d.ID, now) })
	}
	return http.StatusOK, map[string]any{"deployment": d}, err
}

func (t *Tables) putDeployment(tx *state.Tx, d Deployment) error {
	if t.isDatabase(d.ID) {
		return conflict("deployment '%s' is a cluster: it is changed only by the broker", d.ID)
	}
	old, there, err := state.Load(tx, state.DeploymentKey(d.ID), state.JSON[DeploymentRecord])
	if err != nil {
		return err
	}
	if old.Deleted {
		return conflict("deployment '%s' is being deleted", d.ID)
	}
	if there && old.DefinitionID != d.DefinitionID {
		if err := releaseDefinition(tx, old.DefinitionID, d.ID); err != nil {
			return err
		}
	}
	if err := t.useDefinition(tx, d.DefinitionID, d.ID); err != nil {
		return err
	}
	old.Deployment = d
	tx.PutJSON(state.DeploymentKey(d.ID), old)
	return nil
}

// useDefinition notes in the definition that the deployment asks for it.
func (t *Tables) useDefinition(tx *state.Tx, id, deployment string) error {
	record, there, err := state.Load(tx, state.DefinitionKey(id), state.JSON[DefinitionRecord])
	if err != nil {
		return err
	}
	if _, plan := t.planDefinition(id); plan {
		return conflict("definition '%s' is the container of a plan: only the broker deploys it", id)
	}
	if !there {
		return FieldError{"definitionId", fmt.Sprintf("there is no definition '%s'", id)}
	}
	record.use(deployment)
	tx.PutJSON(state.DefinitionKey(id), record)
	return nil
}

func releaseDefinition(tx *state.Tx, id, deployment string) error {
	record, there, err := state.Load(tx, state.DefinitionKey(id), state.JSON[DefinitionRecord])
	if err != nil || !there {
		return err
	}
	record.release(deployment)
	tx.PutJSON(state.DefinitionKey(id), record)
	return nil
}

func (a *API) deleteDeployment(r *http.Request) (int, any, error) {
	id := pathID(r)
	err := a.change(r.Context(), "delete deployment "+id, func(tx *state.Tx) error { return a.tables.deleteDeployment(tx, id) })
	return http.StatusAccepted, struct{}{}, err
}

// deleteDeployment marks the deployment. It goes when its containers are gone.
func (t *Tables) deleteDeployment(tx *state.Tx, id string) error {
	if t.isDatabase(id) {
		return conflict("deployment '%s' is a cluster: it is changed only by the broker", id)
	}
	key := state.DeploymentKey(id)
	record, there, err := state.Load(tx, key, state.JSON[DeploymentRecord])
	if err != nil {
		return err
	}
	if !there {
		return notFound("deployment", id)
	}
	if err := releaseDefinition(tx, record.DefinitionID, id); err != nil {
		return err
	}
	record.Deleted = true
	for i := range record.Placements {
		record.Placements[i].Removed = true
	}
	if len(record.Placements) == 0 {
		tx.Delete(key)
		return nil
	}
	tx.PutJSON(key, record)
	return nil
}
