package registry

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// definitionForm is a definition as it is sent: with the fields of the older
// form, in which it had one port.
type definitionForm struct {
	Definition
	Image *struct {
		Image
		Port int `json:"port"`
	} `json:"image"`
	Repository *struct {
		Repository
		Port int `json:"port"`
	} `json:"repository"`
	HostPort int `json:"hostPort"`
}

// definition returns what the form says, in today's form.
func (f definitionForm) definition() Definition {
	d := f.Definition
	port := 0
	if f.Image != nil {
		image := f.Image.Image
		if port = f.Image.Port; port != 0 && !slices.Contains(image.InternalPorts, port) {
			image.InternalPorts = append([]int{port}, image.InternalPorts...)
		}
		d.Image = &image
	}
	if f.Repository != nil {
		repository := f.Repository.Repository
		has := func(p Port) bool { return p.Internal == f.Repository.Port }
		if f.Repository.Port != 0 && !slices.ContainsFunc(repository.Ports, has) {
			repository.Ports = append([]Port{{Internal: f.Repository.Port}}, repository.Ports...)
		}
		d.Repository = &repository
	}
	if f.HostPort == 0 {
		return d
	}
	// A host port alone is what the service listens on inside, too.
	if all := d.Mappings(); len(all) > 0 {
		port = all[0].Internal
	} else {
		port = f.HostPort
	}
	d.Ports = append(d.Ports, Port{Internal: port, Host: f.HostPort})
	return d
}

func (a *API) listDefinitions(*http.Request) (int, any, error) {
	all := []Definition{}
	a.view(func(t *Tables, _ time.Time) { all = append(all, t.DefinitionList()...) })
	return http.StatusOK, map[string]any{"definitions": all}, nil
}

func (a *API) getDefinition(r *http.Request) (int, any, error) {
	var d Definition
	var there bool
	a.view(func(t *Tables, _ time.Time) { d, there = t.definition(pathID(r)) })
	if !there {
		return 0, nil, notFound("definition", pathID(r))
	}
	return http.StatusOK, map[string]any{"definition": d}, nil
}

func (t *Tables) definition(id string) (Definition, bool) {
	if e, there := t.Definitions.Get(id); there {
		return e.Value.Definition, true
	}
	return t.planDefinition(id)
}

// listBuilds tells how the definition's last builds went, one for each node.
func (a *API) listBuilds(r *http.Request) (int, any, error) {
	builds := []Build{}
	var there bool
	a.view(func(t *Tables, _ time.Time) {
		_, there = t.definition(pathID(r))
		for e := range t.Builds.Under(pathID(r)) {
			builds = append(builds, e.Value)
		}
	})
	if !there {
		return 0, nil, notFound("definition", pathID(r))
	}
	slices.SortFunc(builds, func(a, b Build) int { return a.Started.Compare(b.Started) })
	return http.StatusOK, map[string]any{"builds": builds}, nil
}

func (a *API) putDefinition(r *http.Request) (int, any, error) {
	var form definitionForm
	if err := readBody(r, "definition", &form); err != nil {
		return 0, nil, err
	}
	d := form.definition()
	if err := adopt(&d.ID, r); err != nil {
		return 0, nil, err
	}
	if err := d.Validate(); err != nil {
		return 0, nil, err
	}
	admin := callerOf(r.Context()).Role == RoleAdmin
	if d.Repository != nil && d.Repository.IsLocal() && !admin {
		return 0, nil, Problem{
			Status: http.StatusForbidden, Field: "repository.url",
			Text: "repository.url: to build from a folder of the backend needs the role admin",
		}
	}
	err := a.change(r.Context(), "put definition "+d.ID, func(tx *state.Tx) error { return a.tables.putDefinition(tx, &d, admin) })
	return http.StatusOK, map[string]any{"definition": d}, err
}

func (t *Tables) putDefinition(tx *state.Tx, d *Definition, admin bool) error {
	key := state.DefinitionKey(d.ID)
	record, _, err := state.Load(tx, key, state.JSON[DefinitionRecord])
	if err != nil {
		return err
	}
	if err := record.allow(d.ID, admin); err != nil {
		return err
	}
	if plan, known := t.planDefinition(d.ID); known {
		if err := d.takePlan(plan, admin); err != nil {
			return err
		}
	}
	record.Definition, record.ByAdmin = *d, admin
	tx.PutJSON(key, record)
	return nil
}

// allow refuses to let others change what an admin has put: it may be the container
// of a plan that has no instance yet.
func (r DefinitionRecord) allow(id string, admin bool) error {
	if r.ByAdmin && !admin {
		return Problem{
			Status: http.StatusForbidden,
			Text:   fmt.Sprintf("definition '%s' was put by an admin: changing it needs the role admin", id),
		}
	}
	return nil
}

// takePlan makes the definition one of a plan's container, of which only the
// image may be another, and only by an admin: databases run in it.
func (d *Definition) takePlan(plan Definition, admin bool) error {
	if !admin {
		return Problem{
			Status: http.StatusForbidden,
			Text:   fmt.Sprintf("definition '%s' is the container of a plan: changing it needs the role admin", d.ID),
		}
	}
	if d.Image == nil {
		return FieldError{"repository", fmt.Sprintf("definition '%s' is the container of a plan: it must have an image", d.ID)}
	}
	image := d.Image.Name
	*d = plan
	d.Image = &Image{Name: image, InternalPorts: plan.Image.InternalPorts}
	return nil
}

func (a *API) deleteDefinition(r *http.Request) (int, any, error) {
	id := pathID(r)
	admin := callerOf(r.Context()).Role == RoleAdmin
	err := a.change(r.Context(), "delete definition "+id, func(tx *state.Tx) error { return a.tables.deleteDefinition(tx, id, admin) })
	return http.StatusOK, struct{}{}, err
}

func (t *Tables) deleteDefinition(tx *state.Tx, id string, admin bool) error {
	key := state.DefinitionKey(id)
	record, there, err := state.Load(tx, key, state.JSON[DefinitionRecord])
	if err != nil {
		return err
	}
	users := append(record.UsedBy, t.clustersOf(id)...)
	if len(users) > 0 {
		return conflict("definition '%s' is used by deployment '%s'", id, users[0])
	}
	if !there {
		return notFound("definition", id)
	}
	if err := record.allow(id, admin); err != nil {
		return err
	}
	tx.Delete(key)
	tx.DeletePrefix(state.BuildPrefix(id))
	return nil
}

// clustersOf returns the clusters of a plan.
func (t *Tables) clustersOf(plan string) []string {
	var ids []string
	for e := range t.clusters.All() {
		if c := e.Value.read(); c.PlanID == plan {
			ids = append(ids, c.InstanceID)
		}
	}
	return ids
}
