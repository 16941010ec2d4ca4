package state_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgpatron/pgpatron/state"
)

// The published keys, to the letter.
func TestPublishedKeys(t *testing.T) {
	for want, got := range map[string]string{
		"/service/f1/state":                                     state.ClusterKey("f1"),
		"/service/f1/leader":                                    state.LeaderKey("f1"),
		"/service/f1/members/n1":                                state.MemberKey("f1", "n1"),
		"/routing/nextport":                                     state.NextPortKey(),
		"/routing/allocation/f1":                                state.AllocationKey("f1"),
		"/routing/ports/30006":                                  state.PortKey(30006),
		"/serviceinstance/f1":                                   state.InstanceKey("f1"),
		"/registry/nodes/10.0.0.7":                              state.BackendKey("10.0.0.7"),
		"/registry/hosts/10.0.0.7":                              state.HostKey("10.0.0.7"),
		"/registry/lost/10.0.0.7":                               state.LossKey("10.0.0.7"),
		"/state/instances/10.0.0.5@-@7":                         state.RouterKey("10.0.0.5", 7),
		"/state/datasources/f1.n1":                              state.DatasourceKey("f1", "n1"),
		"/state/backends/10.0.0.7":                              state.CordonKey("10.0.0.7"),
		"/federation/self":                                      state.FederationSelfKey(),
		"/federation/overlay":                                   state.FederationOverlayKey(),
		"/federation/log/7":                                     state.FederationLogKey(7),
		"/federation/outbox/t1/dc-1":                            state.FederationOutboxKey("t1", "dc-1"),
		"/federation/gip/30006":                                 state.FederationGIPKey(30006),
		"/postgresql-brokerpatroni/0.patroni.bosh:cf-cb71:5432": state.AnnouncementKey("postgresql-brokerpatroni", "0.patroni.bosh", "cf-cb71", 5432),
	} {
		if got != want {
			t.Errorf("key is %s, want %s", got, want)
		}
	}
}

// No announcement may have a name under which records lie.
func TestNamesOfRecordsAreReserved(t *testing.T) {
	for _, pattern := range []string{
		state.ClusterPattern, state.NextPortPattern, state.InstancePattern, state.RouterPattern, state.BackendPattern,
		state.HostPattern, state.SitePattern, state.ElectionPattern, state.EventPattern, state.SwitchedPattern,
	} {
		if first := strings.Split(pattern, "/")[1]; !state.IsReserved(first) {
			t.Errorf("%s may be announced", first)
		}
	}
	if state.IsReserved("postgres") {
		t.Error("postgres may not be announced")
	}
}

// Two ids never share a key, whatever they are made of.
func TestSegmentsAreDistinct(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "a/b", "a%2Fb", "a%252Fb", "%", "%25", ".", "..", "A", "a"}))
		a, b := id.Draw(t, "a"), id.Draw(t, "b")
		if (a == b) != (state.ClusterKey(a) == state.ClusterKey(b)) {
			t.Errorf("%q and %q: keys %q and %q", a, b, state.ClusterKey(a), state.ClusterKey(b))
		}
	})
}
