package broker

import (
	"context"
	"slices"

	"github.com/pgpatron/pgpatron/state"
)

// changeExtensions makes the step's extensions those of the database.
func (t turn) changeExtensions() outcome {
	superfluous := slices.DeleteFunc(slices.Clone(t.cluster.Extensions), func(name string) bool {
		return slices.Contains(t.step.Extensions, name)
	})
	done, err := t.ask("change extensions", func(ctx context.Context) error {
		return t.cfg.Database.ChangeExtensions(ctx, t.cluster, t.step.Extensions, superfluous)
	})
	if !done {
		return retrying("", err)
	}
	return outcome{passed: true, apply: func(_ *state.Tx, c *state.Cluster) error {
		c.Extensions = slices.Clone(t.step.Extensions)
		return nil
	}}
}
