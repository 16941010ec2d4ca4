package broker

import (
	"context"
	"net/http"
	"strconv"

	"github.com/pivotal-cf/brokerapi/v10/domain"
	"github.com/pivotal-cf/brokerapi/v10/domain/apiresponses"

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
	id, err := parseID("instance_id", segment)
	if err != nil {
		return spec, err
	}
	var in state.Instance
	var cluster state.Cluster
	var exists bool
	err = b.read(ctx, func(tx *state.Tx) (err error) {
		if in, exists, err = state.Load(tx, state.InstanceKey(id), state.JSON[state.Instance]); err != nil {
			return err
		}
		cluster, _, err = state.Load(tx, state.ClusterKey(id), state.JSON[state.Cluster])
		return err
	})
	switch {
	case err != nil:
		return spec, err
	case !exists || in.Operation.Type == state.Provision && in.Operation.State != state.Succeeded:
		return spec, answer(http.StatusNotFound, "", "instance does not exist, or is not ready")
	case in.Operation.Running():
		return spec, errConcurrency
	}
	if info := maintenanceInfoOf(cluster.Image); info != nil {
		setField(ctx, "maintenance_info", info)
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

// Update is refused: the catalog says that neither plans nor parameters can be
// changed. A platform may still send what it does not want changed.
func (b *Broker) Update(ctx context.Context, instanceID string, details domain.UpdateDetails, _ bool) (domain.UpdateServiceSpec, error) {
	in, exists, err := b.instance(ctx, instanceID)
	switch {
	case err != nil:
		return domain.UpdateServiceSpec{}, b.translate(ctx, "update", err)
	case !exists:
		return domain.UpdateServiceSpec{}, answer(http.StatusNotFound, "", "instance does not exist")
	case details.PlanID != "" && details.PlanID != in.PlanID:
		return domain.UpdateServiceSpec{}, apiresponses.ErrPlanChangeNotSupported
	}
	return domain.UpdateServiceSpec{}, b.translate(ctx, "update", refuseParameters(details.RawParameters))
}

// instance reads an instance's record as etcd has it now.
func (b *Broker) instance(ctx context.Context, segment string) (state.Instance, bool, error) {
	var in state.Instance
	var exists bool
	id, err := parseID("instance_id", segment)
	if err != nil {
		return in, false, err
	}
	err = b.read(ctx, func(tx *state.Tx) (err error) {
		in, exists, err = state.Load(tx, state.InstanceKey(id), state.JSON[state.Instance])
		return err
	})
	return in, exists, err
}

// parametersOf returns parameters as the API shows them: never absent.
func parametersOf(raw []byte) any {
	if given, err := parseObject(raw); err == nil && given != nil {
		return given
	}
	return map[string]any{}
}
