package state

import (
	"context"
	"errors"
	"testing"
)

// What is left to others for a moment holds up callers of Do that have not
// lost yet, and never what a Tick wants: the next Tick would wait for it.
func TestCourtesyIsTheCallers(t *testing.T) {
	schema := NewSchema()
	schema.Watch("/routing/")
	store := newStore(schema, false, nil)
	group := Group{Name: "put", Apply: func(tx *Tx) error { tx.Put("/routing/contested", nil); return nil }}
	for name, c := range map[string]struct {
		pending pending
		want    error
	}{
		"a caller's":            {pending{group: group, ctx: context.Background()}, errSpared},
		"a caller's, that lost": {pending{group: group, ctx: context.Background(), lost: 1}, nil},
		"a Tick's":              {pending{group: group}, nil},
	} {
		b := newBatch()
		b.spared = map[string]struct{}{"/routing/contested": {}}
		if err := b.add(store, &c.pending, 0); !errors.Is(err, c.want) {
			t.Errorf("%s group: %v, want %v", name, err, c.want)
		}
	}
}
