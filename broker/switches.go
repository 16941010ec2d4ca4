package broker

import (
	"context"
	"errors"
	"net/http"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// SwitchRouter breaks the circuit of a router, or closes it again. The router's
// key stays under the router's session.
func (o operator) SwitchRouter(ctx context.Context, id string, off bool, act admin.Act) (admin.Router, error) {
	sw := state.Switch{Kind: state.RouterSwitch, Name: id}
	err := o.throw(ctx, sw, off, act, func(tx *state.Tx) error {
		if _, there := tx.Get(sw.Key()); !there {
			return conflict("'%s' does not exist", id)
		}
		if err := mustDiffer(tx, sw, off); err != nil {
			return err
		}
		if off && !act.Force && !o.otherRouterServes(tx, id) {
			return conflict("'%s' is the last enabled router, cannot be disabled", id)
		}
		tx.Rewrite(sw.Key(), position(off))
		return nil
	})
	if err != nil {
		return admin.Router{}, err
	}
	return o.router(id), nil
}

// otherRouterServes reports whether a router beside that one is enabled. The
// transaction depends on it: of two operators who disable the last two routers
// at once, one finds that the other was quicker.
func (o operator) otherRouterServes(tx *state.Tx, id string) bool {
	var off []state.Switch
	for r := range o.tables.routers.Switches.All() {
		other := state.Switch{Kind: state.RouterSwitch, Name: r.Params[0]}
		switch {
		case other.Name == id:
		case state.IsDisabled(r.Value):
			off = append(off, other)
		case isOn(tx, other):
			return true
		}
	}
	// Perhaps one of them has been enabled and this broker has not seen it yet. A
	// site with more is not refused wrongly for long.
	for _, other := range off[:min(len(off), state.MaxGroupKeys/2)] {
		if isOn(tx, other) {
			return true
		}
	}
	return false
}

// isOn reports whether a router runs and is enabled. A key without a lease is not
// a router's, or will be in a moment.
func isOn(tx *state.Tx, sw state.Switch) bool {
	kv, _ := tx.Get(sw.Key())
	return kv.Lease != clientv3.NoLease && !state.IsDisabled(string(kv.Value))
}

// SwitchReplica takes a replica out of read routing, or back. Who leads is never
// switched off by it.
func (o operator) SwitchReplica(ctx context.Context, id string, off bool, act admin.Act) (admin.Replica, error) {
	sw := state.Switch{Kind: state.ReplicaSwitch, Name: id}
	err := o.throw(ctx, sw, off, act, func(tx *state.Tx) error {
		cluster, there, err := loadReplica(tx, sw)
		if err != nil {
			return err
		}
		if _, written := tx.Get(sw.Key()); !there && (off || !written) {
			return conflict("'%s' does not exist", id)
		}
		if err := mustDiffer(tx, sw, off); err != nil {
			return err
		}
		if !off {
			tx.Delete(sw.Key())
			return nil
		}
		if err := mayRest(tx, sw, cluster, act.Force); err != nil {
			return err
		}
		tx.Put(sw.Key(), position(off))
		return nil
	})
	if err != nil {
		return admin.Replica{}, err
	}
	return o.replica(sw), nil
}

// loadReplica returns the cluster of a switch's node, if there is such a node.
func loadReplica(tx *state.Tx, sw state.Switch) (state.Cluster, bool, error) {
	instance, node := sw.Replica()
	cluster, _, err := state.Load(tx, state.ClusterKey(instance), state.JSON[state.Cluster])
	_, there := cluster.Node(node)
	return cluster, there, err
}

// mayRest refuses to disable a leader, which would mean nothing, and, unless that
// is meant, the last replica that serves readers.
func mayRest(tx *state.Tx, sw state.Switch, cluster state.Cluster, last bool) error {
	instance, node := sw.Replica()
	leader, _, err := state.Load(tx, state.LeaderKey(instance), state.Text)
	switch {
	case err != nil:
		return err
	case leader == node:
		return conflict("'%s' is the leader of '%s', cannot be disabled", sw.Name, instance)
	case last:
		return nil
	}
	for _, other := range cluster.Nodes {
		if other.NodeID == node || other.NodeID == leader || other.Removed {
			continue
		}
		if serves, err := servesReaders(tx, instance, other); serves || err != nil {
			return err
		}
	}
	return conflict("'%s' is the last read replica of '%s', cannot be disabled", sw.Name, instance)
}

// servesReaders reports whether a node follows its leader and is not switched
// off, nor its backend. The transaction depends on it.
func servesReaders(tx *state.Tx, instance string, n state.Node) (bool, error) {
	m, _, err := state.Load(tx, state.MemberKey(instance, n.NodeID), state.JSON[patroni.Member])
	if err != nil || !m.IsStreaming() {
		return false, err
	}
	for _, sw := range []state.Switch{state.ReplicaSwitchOf(instance, n.NodeID), {Kind: state.BackendSwitch, Name: n.BackendID}} {
		if kv, _ := tx.Get(sw.Key()); state.IsDisabled(string(kv.Value)) {
			return false, nil
		}
	}
	return true, nil
}

// mustDiffer refuses to throw a switch to where it is.
func mustDiffer(tx *state.Tx, sw state.Switch, off bool) error {
	kv, _ := tx.Get(sw.Key())
	switch is := state.IsDisabled(string(kv.Value)); {
	case is && off:
		return conflict("'%s' has been disabled", sw.Name)
	case !is && !off:
		return conflict("'%s' is not disabled", sw.Name)
	}
	return nil
}

// position is the value of a switch.
func position(off bool) []byte {
	if off {
		return []byte(state.Disabled)
	}
	return []byte{}
}

func conflict(format string, args ...any) error {
	return admin.Errorf(http.StatusConflict, format, args...)
}

func isConflict(err error) bool {
	told, ok := errors.AsType[*admin.Error](err)
	return ok && told.Status == http.StatusConflict
}
