package broker

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/pivotal-cf/brokerapi/v10/domain"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/state"
)

// GetInstance returns what the platform ordered, what it runs on, and where it
// is reached.
func (b *Broker) GetInstance(ctx context.Context, instanceID string, _ domain.FetchInstanceDetails) (domain.GetInstanceDetailsSpec, error) {
	spec, err := b.getInstance(ctx, instanceID)
	return spec, b.translate(ctx, "fetching the instance", err)
}

func (b *Broker) getInstance(ctx context.Context, segment string) (domain.GetInstanceDetailsSpec, error) {
	var spec domain.GetInstanceDetailsSpec
	id, err := osb.ParseID("instance_id", segment)
	if err != nil {
		return spec, err
	}
	found, err := b.read(ctx, state.InstanceKey(id), state.ClusterKey(id))
	if err != nil {
		return spec, err
	}
	in, exists, errInstance := record[state.Instance](found, state.InstanceKey(id))
	cluster, _, errCluster := record[state.Cluster](found, state.ClusterKey(id))
	if err := errors.Join(errInstance, errCluster); err != nil {
		return spec, err
	}
	switch {
	case !exists || in.Operation.Type == state.Provision && in.Operation.State != state.Succeeded:
		return spec, osb.Answer(http.StatusNotFound, "", "instance does not exist, or is not ready")
	case in.Operation.Running():
		return spec, osb.ErrConcurrency
	case in.MovedTo != "":
		return spec, here(in)
	}
	if info := maintenanceInfoOf(cluster.Image); info != nil {
		osb.SetField(ctx, "maintenance_info", info)
	}
	return domain.GetInstanceDetailsSpec{
		ServiceID: in.ServiceID, PlanID: in.PlanID, Parameters: parametersOf(in.Parameters),
		Metadata: domain.InstanceMetadata{Labels: b.labels(cluster)},
	}, nil
}

// labels are what a user may want to know of an instance without a binding.
func (b *Broker) labels(cluster state.Cluster) map[string]string {
	return map[string]string{
		"host":  b.cfg.RouterHost,
		"port":  strconv.Itoa(cluster.AllocatedPort),
		"nodes": strconv.Itoa(len(cluster.Nodes)),
	}
}

// instance reads an instance's record as etcd has it now.
func (b *Broker) instance(ctx context.Context, segment string) (state.Instance, bool, error) {
	id, err := osb.ParseID("instance_id", segment)
	if err != nil {
		return state.Instance{}, false, err
	}
	return readOne[state.Instance](ctx, b, state.InstanceKey(id))
}

// parametersOf returns parameters as the API shows them: never absent.
func parametersOf(raw []byte) any {
	if given, err := catalog.ParseObject(raw); err == nil && given != nil {
		return given
	}
	return map[string]any{}
}
