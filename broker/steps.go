package broker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/pgpatron/pgpatron/broker/planner"
	"github.com/pgpatron/pgpatron/state"
)

// overdue reports whether the instance should have become usable by now.
func (d *driver) overdue(in state.Instance) bool {
	return time.Since(in.Operation.Started) > d.cfg.ProvisionTimeout
}

func (d *driver) awaitNodes(in state.Instance) []state.Group {
	cluster, ok := d.tables.clusters.Get(in.InstanceID)
	if !ok {
		return d.fail(in, "the cluster's record is gone")
	}
	if groups := d.avoidBusyPort(in, cluster.Value); groups != nil {
		return groups
	}
	progress, ready := d.tables.progress(cluster.Value)
	switch {
	case ready:
		return d.record(in, "nodes run", func(_ *state.Tx, now *state.Instance) error {
			now.Operation.Step = stepWrite
			now.Operation.Description = writeDescription(cluster.Value)
			return nil
		})
	case d.overdue(in):
		return d.fail(in, fmt.Sprintf("not ready after %v: %s", d.cfg.ProvisionTimeout, progress))
	}
	return d.tell(in, progress)
}

func writeDescription(c state.Cluster) string {
	return fmt.Sprintf("waiting for a write through port %d", c.AllocatedPort)
}

// avoidBusyPort gives an instance that nobody has been told the port of
// another one, if a router found that something else uses it.
func (d *driver) avoidBusyPort(in state.Instance, cluster state.Cluster) []state.Group {
	for u := range d.tables.unbound.Under(strconv.Itoa(cluster.AllocatedPort)) {
		why := fmt.Sprintf("in use on router %s: %s", u.Params[1], u.Value)
		if cluster.Global {
			return d.tell(in, fmt.Sprintf("port %d, which is global, is %s", cluster.AllocatedPort, why))
		}
		d.log.Warn("public port is in use, taking another", "instance", in.InstanceID, "port", cluster.AllocatedPort, "why", why)
		return d.record(in, "take another port", func(tx *state.Tx, _ *state.Instance) error {
			now, exists, err := state.Load(tx, state.ClusterKey(in.InstanceID), state.JSON[state.Cluster])
			if err != nil {
				return err
			}
			if !exists || now.AllocatedPort != cluster.AllocatedPort {
				return state.ErrSkip
			}
			if now.AllocatedPort, err = d.cfg.Ports.Replace(tx, in.InstanceID, why); err != nil {
				return err
			}
			tx.PutJSON(state.ClusterKey(in.InstanceID), now)
			return nil
		})
	}
	return nil
}

// progress tells in words how far a cluster's nodes are, and whether they are
// all there.
func (t *tables) progress(cluster state.Cluster) (string, bool) {
	running := 0
	var trouble []string
	for _, n := range cluster.Nodes {
		if m, ok := t.members.Get(cluster.InstanceID, n.NodeID); ok && m.Value.IsRunning() {
			running++
			continue
		}
		if s, ok := t.nodes.Get(n.NodeID); ok && s.Value.Phase == state.PhaseFailed && !slices.Contains(trouble, s.Value.Details) {
			trouble = append(trouble, s.Value.Details)
		}
	}
	text := fmt.Sprintf("%d of %d nodes running", running, len(cluster.Nodes))
	if len(trouble) > 0 {
		return text + ": " + strings.Join(trouble, "; "), false
	}
	if running < len(cluster.Nodes) {
		return text, false
	}
	if _, led := t.leaders.Get(cluster.InstanceID); !led {
		return text + ", no leader yet", false
	}
	return text, true
}

func (d *driver) proveWrite(ctx context.Context, in state.Instance) []state.Group {
	cluster, ok := d.tables.clusters.Get(in.InstanceID)
	if !ok {
		return d.fail(in, "the cluster's record is gone")
	}
	if groups := d.avoidBusyPort(in, cluster.Value); groups != nil {
		return groups
	}
	what := fmt.Sprintf("write for %s through %d", in.Operation.ID, cluster.Value.AllocatedPort)
	done, err := d.jobs.ask(ctx, instanceJob(in.InstanceID), what, func(ctx context.Context) error {
		return d.cfg.Database.ProveWrite(ctx, cluster.Value)
	})
	switch {
	case done:
		return d.record(in, "instance is usable", d.furnish)
	case d.overdue(in):
		return d.fail(in, fmt.Sprintf("no write through port %d worked within %v: %v", cluster.Value.AllocatedPort, d.cfg.ProvisionTimeout, err))
	}
	return d.tell(in, writeDescription(cluster.Value))
}

// furnish begins what a new instance gets once it runs: its settings and
// extensions. Most have none.
func (d *driver) furnish(tx *state.Tx, now *state.Instance) error {
	steps, err := d.planGoal(tx, *now)
	if err != nil {
		return discard(tx, now, err.Error())
	}
	now.Operation.Step, now.Operation.Plan, now.Operation.StepSince = stepPlan, steps, time.Now().UTC()
	now.Operation.Description = stepText(now.Operation, "")
	return nil
}

// planGoal returns the steps from what a cluster is to what its instance's
// record says.
func (d *driver) planGoal(tx *state.Tx, in state.Instance) ([]state.Step, error) {
	cluster, _, err := state.Load(tx, state.ClusterKey(in.InstanceID), state.JSON[state.Cluster])
	if err != nil {
		return nil, err
	}
	plan, _ := d.cfg.plan(in.PlanID)
	wanted, err := plan.ProvisionParameters(in.Parameters)
	if err != nil {
		return nil, err
	}
	picture, err := d.tables.picture(tx, cluster, d.cfg.ShareBackends)
	if err != nil {
		return nil, err
	}
	return planner.Plan(picture, planner.NewTarget(plan, wanted, cluster.NodeSpec), uuid.NewString)
}

func (d *driver) awaitRelease(in state.Instance) []state.Group {
	removed, waiting := 0, ""
	cluster, ok := d.tables.clusters.Get(in.InstanceID)
	for _, n := range cluster.Value.Nodes {
		if s, ok := d.tables.nodes.Get(n.NodeID); ok && s.Value.Phase == state.PhaseRemoved {
			removed++
			continue
		}
		if _, alive := d.tables.backends.Get(n.BackendID); !alive {
			waiting = fmt.Sprintf(", waiting for the registrar of backend %s", n.BackendID)
		}
	}
	if !ok || removed == len(cluster.Value.Nodes) {
		return d.record(in, "nodes are gone, cluster is forgotten", d.forget)
	}
	return d.tell(in, fmt.Sprintf("%d of %d nodes removed%s", removed, len(cluster.Value.Nodes), waiting))
}

// forget removes every key of a cluster whose nodes are gone. The instance's
// own record stays after a failure, to tell why.
func (d *driver) forget(tx *state.Tx, in *state.Instance) error {
	if err := d.cfg.Ports.Release(tx, in.InstanceID); err != nil {
		return err
	}
	if err := forgetCluster(tx, in.InstanceID); err != nil {
		return err
	}
	if in.Operation.Type == state.Deprovision {
		tx.Delete(state.InstanceKey(in.InstanceID))
		tellGone(tx, in.InstanceID, deprovisioned)
		return countOut(tx, in.PlanID)
	}
	if in.Operation.Type == state.Arrival {
		return vanished(tx, in)
	}
	in.Operation.State = state.Failed
	in.Operation.Description = in.Operation.Failure
	return nil
}
