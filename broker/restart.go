package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// errOldSettings says that a node does not have its settings yet.
var errOldSettings = errors.New("the node does not have the new settings yet")

// restartNode restarts PostgreSQL of the step's node, in its container, if its
// settings have not taken hold there. It is over when they have and the node
// leads or follows again.
func (t turn) restartNode() outcome {
	if _, there := t.cluster.Node(t.step.Node); !there {
		return passed
	}
	return awaitJob(t.ask("restart", func(ctx context.Context) error {
		if err := t.restartForSettings(ctx); err != nil {
			return err
		}
		return t.confirm(ctx, t.step.Node)
	}))
}

// restartForSettings looks what the node's PostgreSQL runs with. If that is not
// what it should be, it asks Patroni for a restart and fails: Patroni refuses
// until it has taken in the settings itself.
func (t turn) restartForSettings(ctx context.Context) error {
	var addr string
	var err error
	t.view(func() {
		m, _ := t.tables.members.Get(t.in.InstanceID, t.step.Node)
		addr, err = m.Value.Addr()
	})
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(t.step.Settings))
	found, err := t.cfg.Database.Settings(ctx, t.cluster, addr, names)
	if err != nil {
		return err
	}
	if maps.Equal(found, t.step.Settings) {
		return nil
	}
	client, err := t.rest(t.step.Node)
	if err != nil {
		return err
	}
	if err := client.RestartIfPending(ctx); err != nil {
		return fmt.Errorf("%w: %w", errOldSettings, err)
	}
	return errOldSettings
}
