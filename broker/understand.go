package broker

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/google/uuid"
	"github.com/pivotal-cf/brokerapi/v10/domain"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/broker/planner"
	"github.com/pgpatron/pgpatron/state"
)

// understand fills u in, or says why there is no such update.
func (b *Broker) understand(tx *state.Tx, u *update, id string, details domain.UpdateDetails) (err error) {
	if err := u.load(tx, id); err != nil {
		return err
	}
	if details.ServiceID != u.in.ServiceID {
		return osb.BadRequest("service_id: instance %q is of another service", id)
	}
	if err := u.free(details); err != nil || u.running {
		return err
	}
	if u.want, err = b.wanted(u, details); err != nil {
		return err
	}
	if u.want.Plan.ID != u.in.PlanID {
		if err := b.tables.haveRoom(tx, u.want.Plan); err != nil {
			return err
		}
	}
	picture, err := b.tables.picture(tx, u.cluster, b.cfg.ShareBackends)
	if err != nil {
		return err
	}
	u.steps, err = planner.Plan(picture, u.want, uuid.NewString)
	return err
}

// load reads the records.
func (u *update) load(tx *state.Tx, id string) (err error) {
	var exists, made bool
	u.in, exists, err = state.Load(tx, state.InstanceKey(id), state.JSON[state.Instance])
	if err != nil {
		return err
	}
	if !exists {
		return osb.Answer(http.StatusNotFound, "", "instance does not exist")
	}
	if err := here(u.in); err != nil {
		return err
	}
	u.cluster, made, err = state.Load(tx, state.ClusterKey(id), state.JSON[state.Cluster])
	if err != nil {
		return err
	}
	if !made {
		return osb.Answer(http.StatusUnprocessableEntity, "", "instance %q could not be made: %s; delete it", id, u.in.Operation.Description)
	}
	return nil
}

// free reports why the instance can not be changed now, if so. The operation
// that it is busy with may be the very one that is asked for.
func (u *update) free(details domain.UpdateDetails) error {
	op := u.in.Operation
	switch {
	case op.Running() && op.Type == state.Update && op.Failure == "" && sameJSON(op.Change.Request, requestOf(details)):
		u.running = true
		return nil
	case op.Running():
		return osb.ErrConcurrency
	case op.Type != state.Update && unusable(op):
		return osb.Answer(http.StatusUnprocessableEntity, "", "instance %q could not be made: %s; delete it", u.in.InstanceID, op.Description)
	}
	return nil
}

// requestOf is what two requests that ask for the same have in common.
func requestOf(details domain.UpdateDetails) json.RawMessage {
	// What is not JSON has been refused before it came here.
	parameters, _ := canonical(details.RawParameters)
	request := struct {
		PlanID     string          `json:"plan_id,omitempty"`
		Parameters json.RawMessage `json:"parameters"`
		Version    string          `json:"version,omitempty"`
	}{PlanID: details.PlanID, Parameters: parameters}
	if details.MaintenanceInfo != nil {
		request.Version = details.MaintenanceInfo.Version
	}
	raw, _ := json.Marshal(request)
	return raw
}

// wanted works out what the instance is to be, and notes what that changes.
func (b *Broker) wanted(u *update, details domain.UpdateDetails) (planner.Target, error) {
	plan, kept, err := b.planOf(u, details.PlanID)
	if err != nil {
		return planner.Target{}, err
	}
	given, err := plan.UpdateParameters(details.RawParameters)
	if err != nil {
		return planner.Target{}, err
	}
	merged := catalog.Encode(catalog.Merge(kept, given.Raw))
	wanted, err := plan.ProvisionParameters(merged)
	if err != nil {
		return planner.Target{}, noPlanChange("plan %s does not take what the instance has: %s", plan.Name, err)
	}
	spec, err := b.specOf(u, plan, details.MaintenanceInfo, given)
	t := planner.NewTarget(plan, wanted, spec)
	t.Actions = given.Actions
	u.change = change{state.Change{PlanID: plan.ID, Parameters: merged, Spec: spec, Request: requestOf(details)}}
	return t, err
}

// planOf returns the plan that the instance is to have and those of its
// parameters that hold under it.
func (b *Broker) planOf(u *update, planID string) (catalog.Plan, map[string]json.RawMessage, error) {
	kept, err := catalog.ParseObject(u.in.Parameters)
	if err != nil {
		return catalog.Plan{}, nil, err
	}
	if planID == "" || planID == u.in.PlanID {
		plan, known := b.cfg.plan(u.in.PlanID)
		if !known {
			return plan, nil, osb.Answer(http.StatusUnprocessableEntity, "", "plan_id: the instance's plan, %q, is no longer in the catalog", u.in.PlanID)
		}
		return plan, kept, nil
	}
	plan, known := b.cfg.plan(planID)
	before, _ := b.cfg.plan(u.in.PlanID)
	switch {
	case !known:
		return plan, nil, osb.BadRequest("plan_id: %q is not in the catalog", planID)
	case before.Fixed:
		return plan, nil, noPlanChange("instances of plan %s keep it", before.Name)
	case plan.Fixed:
		return plan, nil, noPlanChange("plan %s can not be changed to, only ordered", plan.Name)
	}
	return plan, plan.Inherited(kept), nil
}

// noPlanChange is the answer to a change of plan that makes no sense.
func noPlanChange(format string, args ...any) error {
	return osb.Answer(http.StatusUnprocessableEntity, "PlanChangeNotSupported", format, args...)
}

// specOf returns what the instance's nodes are to be made from: what they are,
// but for what the request changes.
func (b *Broker) specOf(u *update, plan catalog.Plan, given *domain.MaintenanceInfo, wanted catalog.Parameters) (state.NodeSpec, error) {
	spec := u.cluster.NodeSpec
	if plan.ID != u.in.PlanID {
		spec.MemoryMB, spec.MilliCPU = plan.MemoryMB, plan.MilliCPU
	}
	if wanted.Restart {
		spec.Restarts++
	}
	if given == nil || given.Version == "" {
		return spec, nil
	}
	if err := b.checkMaintenanceInfo(given, plan.ID); err != nil {
		return spec, err
	}
	spec.Image = b.imageOf(plan.ID)
	return spec, b.checkMajor(u.cluster, spec.Image)
}

// change is what an update ends in.
type change struct{ state.Change }

// apply makes the records say what the update has made true.
func (c change) apply(cfg Config, in *state.Instance, cluster *state.Cluster) {
	in.PlanID, in.Parameters = c.PlanID, c.Parameters
	cluster.PlanID, cluster.NodeSpec = c.PlanID, c.Spec
	plan, _ := cfg.plan(c.PlanID)
	cluster.MaxSessions, cluster.RequireTLS = plan.MaxSessions, plan.RequireTLS
	cluster.Nodes = slices.Clone(cluster.Nodes)
	for i := range cluster.Nodes {
		n := &cluster.Nodes[i]
		n.PlanID = c.PlanID
		if n.Spec != nil && *n.Spec == c.Spec {
			n.Spec = nil
		}
	}
}
