package patroni

import (
	"context"
	"encoding/json"

	"github.com/pgpatron/pgpatron/state"
)

// readOnlyMark is the key of the dynamic configuration that says that a cluster
// was made read-only by SetReadOnly, and not by whoever may want it so for good.
const readOnlyMark = "pgpatron_read_only"

// ReadOnly adds the table of dynamic configurations to the schema: by instance
// id, whether SetReadOnly made the cluster read-only.
func ReadOnly(s *state.Schema) *state.Table[bool] {
	return state.Register(s, state.ConfigPattern, func(b []byte) (bool, error) {
		var cfg map[string]json.RawMessage
		if err := json.Unmarshal(b, &cfg); err != nil {
			return false, err
		}
		_, marked := cfg[readOnlyMark]
		return marked, nil
	})
}

// SetReadOnly makes the cluster's transactions read-only, or ends that. A
// session may still ask for a writing transaction, by SET transaction_read_only:
// that is how room is made.
func (c *Client) SetReadOnly(ctx context.Context, on bool) error {
	var mark, value any
	if on {
		mark, value = true, "on"
	}
	_, err := c.PatchConfig(ctx, map[string]any{
		readOnlyMark: mark,
		"postgresql": map[string]any{"parameters": map[string]any{"default_transaction_read_only": value}},
	})
	return err
}
