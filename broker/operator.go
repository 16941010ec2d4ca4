package broker

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/state"
)

// operator is what the operator's API sees of a broker.
type operator struct{ *Broker }

var _ admin.Site = operator{}

// operatorRoutes adds the operator's API.
func (b *Broker) operatorRoutes(api chi.Router) {
	login := state.Credentials{Username: b.cfg.AdminUsername, Password: b.cfg.AdminPassword}
	api.Use(osb.Authenticate("pgpatron operator", login), osb.Audit(b.log, operatorRequest), refuse(b.outdated))
	admin.Routes(api, operator{b}, b.log)
}

// operatorRequest tells which operator asks for what, and what he says of it.
func operatorRequest(r *http.Request) []any {
	username, _, _ := r.BasicAuth()
	told := []any{"who", "operator " + username, "path", r.URL.Path}
	for _, name := range []string{"by", "reason", "force"} {
		if value := r.URL.Query().Get(name); value != "" {
			told = append(told, name, value)
		}
	}
	return told
}

// Instances returns the instances that the filter lets through.
func (o operator) Instances(_ context.Context, f admin.Filter) ([]admin.Instance, error) {
	list := []admin.Instance{}
	o.engine.View(func() {
		for in := range o.tables.instances.All() {
			if shown := o.instanceView(in.Value); lets(f, shown) {
				list = append(list, shown)
			}
		}
	})
	slices.SortFunc(list, func(a, b admin.Instance) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// lets reports whether a filter lets an instance through.
func lets(f admin.Filter, in admin.Instance) bool {
	here := func(n admin.Node) bool { return n.Backend == f.Backend }
	return (f.Plan == "" || f.Plan == in.Plan || f.Plan == in.PlanID) &&
		(f.State == "" || f.State == in.Operation.State) &&
		(f.Backend == "" || slices.ContainsFunc(in.Nodes, here))
}

// Instance returns one instance.
func (o operator) Instance(_ context.Context, id string) (admin.Instance, error) {
	var shown admin.Instance
	found := false
	o.engine.View(func() {
		var in state.Entry[state.Instance]
		if in, found = o.tables.instances.Get(id); found {
			shown = o.instanceView(in.Value)
		}
	})
	if !found {
		return shown, admin.NotFound("instance", id)
	}
	return shown, nil
}

// instanceView shows an instance. Call it in View.
func (o operator) instanceView(in state.Instance) admin.Instance {
	shown := admin.Instance{
		ID: in.InstanceID, PlanID: in.PlanID, Plan: o.planName(in.PlanID),
		Organization: in.OrganizationGUID, Space: in.SpaceGUID,
		Nodes: []admin.Node{}, Operation: operationView(in), MovedTo: in.MovedTo,
	}
	for range o.tables.bindings.Under(in.InstanceID) {
		shown.Bindings++
	}
	cluster, ok := o.tables.clusters.Get(in.InstanceID)
	if !ok {
		return shown
	}
	shown.Port, shown.ReadOnlyPort, shown.Synchronous = cluster.Value.AllocatedPort, cluster.Value.ReadOnlyPort, cluster.Value.Synchronous
	leader, _ := o.tables.leaders.Get(in.InstanceID)
	shown.Leader = leader.Value
	for _, n := range cluster.Value.Nodes {
		shown.Nodes = append(shown.Nodes, o.nodeView(in.InstanceID, n))
	}
	return shown
}

func (o operator) nodeView(instance string, n state.Node) admin.Node {
	backend, _ := o.tables.backends.Get(n.BackendID)
	status, _ := o.tables.nodes.Get(n.NodeID)
	member, _ := o.tables.members.Get(instance, n.NodeID)
	return admin.Node{
		ID: n.NodeID, Backend: n.BackendID, Zone: backend.Value.Zone, Leaving: n.Removed,
		Phase: string(status.Value.Phase), Details: status.Value.Details,
		Role: member.Value.Role, State: member.Value.State,
		Streaming: member.Value.IsStreaming(), Timeline: member.Value.Timeline,
	}
}

// Operations returns the last operation of every instance that the filter lets
// through, those that run first, then the newest.
func (o operator) Operations(ctx context.Context, f admin.Filter) ([]admin.Operation, error) {
	instances, err := o.Instances(ctx, f)
	list := make([]admin.Operation, 0, len(instances))
	for _, in := range instances {
		list = append(list, in.Operation)
	}
	slices.SortStableFunc(list, func(a, b admin.Operation) int {
		runningA, runningB := a.State == string(state.InProgress), b.State == string(state.InProgress)
		switch {
		case runningA && !runningB:
			return -1
		case runningB && !runningA:
			return 1
		}
		return b.Updated.Compare(a.Updated)
	})
	return list, err
}

func operationView(in state.Instance) admin.Operation {
	op := in.Operation
	return admin.Operation{
		ID: op.ID, InstanceID: in.InstanceID, Type: string(op.Type), State: string(op.State),
		Description: op.Description, Started: op.Started, Updated: op.Updated,
		Steps: stepViews(op.Plan), Done: op.Done,
	}
}

func stepViews(steps []state.Step) []admin.Step {
	var shown []admin.Step
	for _, s := range steps {
		shown = append(shown, admin.Step{Kind: string(s.Kind), Node: s.Node, Backend: s.Backend, Description: s.Text})
	}
	return shown
}
