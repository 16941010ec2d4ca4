package broker

import (
	"context"
	"maps"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// configure gives the cluster the step's settings and says whether commits wait
// for a standby. It is over when Patroni has taken that in: when a standby is
// named, or when none is any more.
func (t turn) configure() outcome {
	done, err := t.ask("configure", t.patchConfig)
	if !done {
		return retrying("", err)
	}
	sync, _ := t.tables.syncs.Get(t.in.InstanceID)
	named := len(sync.Value.Standbys) > 0
	switch {
	case t.step.Synchronous == t.cluster.Synchronous:
	case t.step.Synchronous && !named:
		return waiting("no standby has every commit yet")
	case !t.step.Synchronous && named:
		return waiting("the standby is not released yet")
	}
	return outcome{passed: true, apply: func(_ *state.Tx, c *state.Cluster) error {
		c.Synchronous = t.step.Synchronous
		c.Settings = maps.Clone(t.step.Settings)
		return nil
	}}
}

// patchConfig has the leader change what all members share.
func (t turn) patchConfig(ctx context.Context) error {
	client, err := t.rest(t.leader())
	if err != nil {
		return err
	}
	parameters := map[string]*string{}
	for _, name := range t.step.Reset {
		parameters[name] = nil
	}
	for name, value := range t.step.Settings {
		parameters[name] = &value
	}
	_, err = client.PatchConfig(ctx, patroni.ConfigPatch(t.step.Synchronous, parameters))
	return err
}
