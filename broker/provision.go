package broker

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/google/uuid"
	"github.com/pivotal-cf/brokerapi/v10/domain"
	"github.com/pivotal-cf/brokerapi/v10/domain/apiresponses"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/broker/planner"
	"github.com/pgpatron/pgpatron/state"
)

// Names inside every instance's database server.
const (
	databaseName  = "app"
	ownerRole     = "app_owner"
	adminRole     = "admin"
	superuserRole = "postgres"
	replicaRole   = "replicator"
	restUser      = "patroni"
)

// Provision records a new instance with its cluster, its nodes' places and its
// port, in one transaction; the elected broker sees to the rest.
func (b *Broker) Provision(ctx context.Context, instanceID string, details domain.ProvisionDetails, asyncAllowed bool) (domain.ProvisionedServiceSpec, error) {
	spec, err := b.provision(ctx, instanceID, details, asyncAllowed)
	return spec, b.translate(ctx, "provision", err)
}

func (b *Broker) provision(ctx context.Context, segment string, details domain.ProvisionDetails, asyncAllowed bool) (domain.ProvisionedServiceSpec, error) {
	var spec domain.ProvisionedServiceSpec
	id, err := osb.ParseID("instance_id", segment)
	if err != nil {
		return spec, err
	}
	if err := checkOwner(details); err != nil {
		return spec, err
	}
	plan, ok := b.cfg.plan(details.PlanID)
	if !ok {
		return spec, osb.BadRequest("plan_id: %q is not in the catalog", details.PlanID)
	}
	params, err := plan.ProvisionParameters(details.RawParameters)
	if err != nil {
		return spec, err
	}
	wanted := newInstance(id, details)
	var image string
	b.engine.View(func() { image = b.imageOf(plan.ID) })
	cluster, goal := b.newCluster(wanted, plan, params, image)
	cluster.Global = b.wantsGlobal(params)
	if err := b.preparePort(ctx, id, cluster.Global); err != nil {
		return spec, err
	}
	var found state.Instance
	err = b.decide(ctx, "provision", func(tx *state.Tx) error {
		var exists bool
		found, exists, err = state.Load(tx, state.InstanceKey(id), state.JSON[state.Instance])
		if err != nil || exists {
			return err
		}
		if err := b.checkMaintenanceInfo(details.MaintenanceInfo, plan.ID); err != nil {
			return err
		}
		if !asyncAllowed {
			return apiresponses.ErrAsyncRequired
		}
		found = wanted
		return b.admit(tx, wanted, cluster, goal)
	})
	if err != nil {
		return spec, err
	}
	spec, err = provisioned(found, wanted)
	if err == nil && spec.IsAsync && !asyncAllowed {
		return domain.ProvisionedServiceSpec{}, apiresponses.ErrAsyncRequired
	}
	return spec, err
}

// checkOwner refuses an instance that belongs to nobody.
func checkOwner(details domain.ProvisionDetails) error {
	switch {
	case details.OrganizationGUID == "":
		return osb.BadRequest("organization_guid: must be set")
	case details.SpaceGUID == "":
		return osb.BadRequest("space_guid: must be set")
	}
	return nil
}

// checkMaintenanceInfo refuses a platform that speaks of another version of a
// plan than the catalog does. Only the version counts: platforms keep no more.
func (b *Broker) checkMaintenanceInfo(given *domain.MaintenanceInfo, plan string) error {
	ours := maintenanceInfoOf(b.imageOf(plan))
	switch {
	case given == nil:
		return nil
	case ours == nil:
		return apiresponses.ErrMaintenanceInfoNilConflict
	case given.Version != ours.Version:
		return apiresponses.ErrMaintenanceInfoConflict
	}
	return nil
}

// provisioned answers a request for wanted where found is recorded.
func provisioned(found, wanted state.Instance) (domain.ProvisionedServiceSpec, error) {
	var spec domain.ProvisionedServiceSpec
	op := found.Operation
	switch {
	case op.Type == state.Deprovision && op.Running():
		return spec, osb.ErrConcurrency
	case !sameInstance(found, wanted):
		return spec, osb.Answer(409, "", "instance %q exists with other attributes", found.InstanceID)
	case op.Type == state.Provision && op.Running():
		spec.IsAsync, spec.OperationData = true, op.ID
	case op.Type == state.Provision && op.State == state.Failed:
		return spec, osb.Answer(409, "", "instance %q could not be made: %s; delete it first", found.InstanceID, op.Description)
	default:
		spec.AlreadyExists = true
	}
	return spec, nil
}

func sameInstance(a, b state.Instance) bool {
	return a.ServiceID == b.ServiceID && a.PlanID == b.PlanID &&
		a.OrganizationGUID == b.OrganizationGUID && a.SpaceGUID == b.SpaceGUID &&
		sameJSON(a.Parameters, b.Parameters)
}

func newInstance(id string, details domain.ProvisionDetails) state.Instance {
	return state.Instance{
		Version:          state.RecordVersion,
		InstanceID:       id,
		ServiceID:        details.ServiceID,
		PlanID:           details.PlanID,
		OrganizationGUID: details.OrganizationGUID,
		SpaceGUID:        details.SpaceGUID,
		Parameters:       details.RawParameters,
		Context:          details.RawContext,
		Operation:        newOperation(state.Provision, stepNodes, "placing the nodes"),
	}
}

// newOperation opens a journal at its first step. The operation's type leads
// its id, so that a poll tells what it waits for even when the record is gone.
func newOperation(kind state.OperationType, step, description string) state.Operation {
	now := time.Now().UTC()
	return state.Operation{
		ID: string(kind) + "-" + uuid.NewString(), Type: kind, State: state.InProgress,
		Step: step, Description: description, Started: now, Updated: now,
	}
}

// newCluster makes the record of a cluster, all but its port and nodes, and
// returns what it is to be. Settings and extensions come once it runs.
func (b *Broker) newCluster(in state.Instance, plan catalog.Plan, params catalog.Parameters, image string) (state.Cluster, planner.Target) {
	goal := planner.NewTarget(plan, params, state.NodeSpec{Image: image, MemoryMB: plan.MemoryMB, MilliCPU: plan.MilliCPU})
	login := func(username string) state.Credentials {
		return state.Credentials{Username: username, Password: newPassword()}
	}
	return state.Cluster{
		Version:                state.RecordVersion,
		InstanceID:             in.InstanceID,
		ServiceID:              in.ServiceID,
		PlanID:                 in.PlanID,
		OrganizationGUID:       in.OrganizationGUID,
		SpaceGUID:              in.SpaceGUID,
		AdminCredentials:       login(adminRole),
		SuperuserCredentials:   login(superuserRole),
		AppCredentials:         login(ownerRole),
		ReplicationCredentials: login(replicaRole),
		RESTCredentials:        login(restUser),
		Database:               databaseName,
		Synchronous:            goal.Synchronous,
		PostgresMajor:          b.cfg.PostgresMajor,
		NodeSpec:               goal.Spec,
		MaxSessions:            goal.Plan.MaxSessions,
		RequireTLS:             goal.Plan.RequireTLS,
	}, goal
}

func newPassword() state.Secret { return state.Secret(rand.Text()) }

// admit gives the cluster its port, and its nodes' places and certificates, and
// writes the records.
func (b *Broker) admit(tx *state.Tx, in state.Instance, cluster state.Cluster, goal planner.Target) error {
	if err := b.tables.countIn(tx, goal.Plan); err != nil {
		return err
	}
	backends, err := b.tables.fleet(b.cfg.ShareBackends).PlaceNew(goal.Plan, goal.Nodes)
	if err != nil {
		return err
	}
	if err := b.choosePort(tx, &cluster); err != nil {
		return err
	}
	if b.cfg.ReadOnlyPorts && goal.Nodes > 1 {
		if cluster.ReadOnlyPort, err = b.cfg.Ports.AllocateReadOnly(tx, in.InstanceID); err != nil {
			return err
		}
	}
	cluster.Nodes = newNodes(in, backends)
	for _, n := range cluster.Nodes {
		if err := b.driver.certifier.sign(tx, in.InstanceID, n); err != nil {
			return err
		}
	}
	tx.PutJSON(state.ClusterKey(in.InstanceID), cluster)
	tx.PutJSON(state.InstanceKey(in.InstanceID), in)
	return nil
}

// Deprovision records that the instance is to go. It stops an instance that is
// still being made, or changed, too.
func (b *Broker) Deprovision(ctx context.Context, instanceID string, details domain.DeprovisionDetails, asyncAllowed bool) (domain.DeprovisionServiceSpec, error) {
	spec, err := b.deprovision(ctx, instanceID, details, asyncAllowed)
	return spec, b.translate(ctx, "deprovision", err)
}

func (b *Broker) deprovision(ctx context.Context, segment string, details domain.DeprovisionDetails, asyncAllowed bool) (domain.DeprovisionServiceSpec, error) {
	var spec domain.DeprovisionServiceSpec
	id, err := osb.ParseID("instance_id", segment)
	if err != nil {
		return spec, err
	}
	fresh := newOperation(state.Deprovision, stepRelease, "removing the nodes")
	err = b.decide(ctx, "deprovision", func(tx *state.Tx) error {
		in, exists, err := state.Load(tx, state.InstanceKey(id), state.JSON[state.Instance])
		if err != nil {
			return err
		}
		if !exists {
			return apiresponses.ErrInstanceDoesNotExist
		}
		if details.ServiceID != in.ServiceID || details.PlanID != in.PlanID {
			return osb.BadRequest("instance %q is of another service or plan than the request says", id)
		}
		if !asyncAllowed {
			return apiresponses.ErrAsyncRequired
		}
		if err := here(in); err != nil {
			return err
		}
		if in.Operation.Type == state.Deprovision && in.Operation.Running() {
			spec.OperationData = in.Operation.ID
			return nil
		}
		spec.OperationData = fresh.ID
		in.Begin(fresh)
		tx.PutJSON(state.InstanceKey(id), in)
		return markRemoved(tx, id)
	})
	spec.IsAsync = err == nil
	return spec, err
}

// markRemoved asks the registrars to remove every node of the cluster.
func markRemoved(tx *state.Tx, id string) error {
	cluster, exists, err := state.Load(tx, state.ClusterKey(id), state.JSON[state.Cluster])
	if err != nil || !exists {
		return err
	}
	for i := range cluster.Nodes {
		cluster.Nodes[i].Removed = true
	}
	tx.PutJSON(state.ClusterKey(id), cluster)
	return nil
}
