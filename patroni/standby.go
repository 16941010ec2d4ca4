package patroni

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// moveSlot is the replication slot by which a cluster keeps its WAL for a copy of
// itself elsewhere.
const moveSlot = "pgpatron_move"

// StandbyConfig returns the dynamic configuration, as Patroni keeps it in etcd,
// of a cluster that begins as a copy of another, reached at source, a host:port.
// Written before the first member starts, it makes Patroni copy instead of
// making a new database. A copy has to have the settings of what it copies:
// PostgreSQL stops where it has less.
func StandbyConfig(source string, synchronous bool, settings map[string]string) ([]byte, error) {
	host, text, err := net.SplitHostPort(source)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("port of %s: %w", source, err)
	}
	fresh := NewDynamicConfig(synchronous)
	for name, value := range settings {
		fresh.PostgreSQL.Parameters[name] = value
	}
	raw, err := yaml.Marshal(fresh)
	if err != nil {
		return nil, err
	}
	cfg := map[string]any{}
	if err := yaml.Unmarshal(raw, &cfg); err != nil {
		return nil, err
	}
	cfg[standbyCluster] = map[string]any{
		"host": host, "port": port, "primary_slot_name": moveSlot, "create_replica_methods": []string{"basebackup"},
	}
	return json.Marshal(cfg)
}

// standbyCluster is the key of the dynamic configuration that makes a cluster a
// copy.
const standbyCluster = "standby_cluster"

// Promote makes a cluster that is a copy one of its own: its leader is promoted.
func (c *Client) Promote(ctx context.Context) error {
	_, err := c.PatchConfig(ctx, map[string]any{standbyCluster: nil})
	return err
}

// KeepForCopy has the cluster keep its WAL until a copy elsewhere has it, or ends
// that.
func (c *Client) KeepForCopy(ctx context.Context, keep bool) error {
	var slot any
	if keep {
		slot = map[string]any{"type": "physical"}
	}
	_, err := c.PatchConfig(ctx, map[string]any{"slots": map[string]any{moveSlot: slot}})
	return err
}
