package patroni_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgpatron/pgpatron/patroni"
)

// A copy has what every cluster is made with and the settings of what it copies,
// and says where that is.
func TestStandbyConfig(t *testing.T) {
	raw, err := patroni.StandbyConfig("[2001:db8::1]:30006", true, map[string]string{"max_connections": "200", "work_mem": "8MB"})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		TTL         int            `json:"ttl"`
		Synchronous bool           `json:"synchronous_mode"`
		Standby     map[string]any `json:"standby_cluster"`
		PostgreSQL  struct {
			UseSlots   bool           `json:"use_slots"`
			Parameters map[string]any `json:"parameters"`
		} `json:"postgresql"`
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{
		"host": "2001:db8::1", "port": 30006.0, "primary_slot_name": "pgpatron_move", "create_replica_methods": []any{"basebackup"},
	}, got.Standby); diff != "" {
		t.Errorf("standby_cluster (-want +got):\n%s", diff)
	}
	p := got.PostgreSQL.Parameters
	if got.TTL != 20 || !got.Synchronous || !got.PostgreSQL.UseSlots || p["max_connections"] != "200" || p["work_mem"] != "8MB" || p["wal_log_hints"] != "on" {
		t.Errorf("got %s", raw)
	}
	for _, source := range []string{"", "host", "host:port"} {
		if _, err := patroni.StandbyConfig(source, false, nil); err == nil {
			t.Errorf("%q is taken for an address", source)
		}
	}
}
