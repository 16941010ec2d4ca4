package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/pgpatron/pgpatron/broker"
	"github.com/pgpatron/pgpatron/broker/postgres"
	"github.com/pgpatron/pgpatron/state"
)

// ChangeExtensions remembers the extensions of an instance. One that is in use
// can not be dropped.
func (d *database) ChangeExtensions(_ context.Context, c state.Cluster, wanted, superfluous []string) error {
	if slices.Contains(superfluous, d.inUse) {
		return postgres.Refusal{Reason: fmt.Sprintf("extension %s is in use", d.inUse)}
	}
	return d.with(func() {
		if d.extensions == nil {
			d.extensions = map[string][]string{}
		}
		left := slices.DeleteFunc(slices.Clone(d.extensions[c.InstanceID]), func(name string) bool { return slices.Contains(superfluous, name) })
		left = append(left, wanted...)
		slices.Sort(left)
		d.extensions[c.InstanceID] = slices.Compact(left)
	})
}

// Settings returns what the node runs with: what clusters are made with, until
// it is restarted for something else.
func (d *database) Settings(_ context.Context, _ state.Cluster, addr string, names []string) (map[string]string, error) {
	found := map[string]string{"max_connections": "100"}
	for _, name := range names {
		if value, ok := d.nodes.Setting(addr, name); ok {
			found[name] = value
		}
	}
	return found, nil
}

// cluster returns the record of an instance's cluster.
func (s *site) cluster(id string) state.Cluster {
	s.t.Helper()
	return read[state.Cluster](s, state.ClusterKey(id))
}

// instance returns the record of an instance.
func (s *site) instance(id string) state.Instance {
	s.t.Helper()
	return read[state.Instance](s, state.InstanceKey(id))
}

func read[T any](s *site, key string) (v T) {
	s.t.Helper()
	resp, err := s.client.Get(s.t.Context(), key)
	if err != nil || len(resp.Kvs) == 0 {
		s.t.Fatalf("%s is not there: %v", key, err)
	}
	if err := json.Unmarshal(resp.Kvs[0].Value, &v); err != nil {
		s.t.Fatal(err)
	}
	return v
}

// leader returns the node that leads.
func (s *site) leader(id string) string {
	s.t.Helper()
	resp, err := s.client.Get(s.t.Context(), state.LeaderKey(id))
	if err != nil || len(resp.Kvs) == 0 {
		s.t.Fatalf("there is no leader: %v", err)
	}
	return string(resp.Kvs[0].Value)
}

// backendsOf returns where an instance's nodes are.
func (s *site) backendsOf(id string) string {
	s.t.Helper()
	var out []string
	for _, n := range s.cluster(id).Nodes {
		out = append(out, n.BackendID)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// patch asks for an update.
func (s *site) patch(id string, body map[string]any) reply {
	s.t.Helper()
	request := map[string]any{"service_id": broker.ServiceID}
	maps.Copy(request, body)
	return s.call("PATCH", instancePath(id)+"?accepts_incomplete=true", request)
}

// set asks for an update of parameters.
func (s *site) set(id, name string, value any) reply {
	s.t.Helper()
	return s.patch(id, map[string]any{"parameters": map[string]any{name: value}})
}

// done waits until an update that was accepted has succeeded.
func (s *site) done(id string, r reply) {
	s.t.Helper()
	s.ended(id, r, "succeeded")
}

// ended waits until an update that was accepted has ended so.
func (s *site) ended(id string, r reply, how string) reply {
	s.t.Helper()
	s.want(r, http.StatusAccepted)
	return s.await(id, r.field(s.t, "operation"), how)
}
