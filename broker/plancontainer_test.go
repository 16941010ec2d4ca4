package broker_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/pgpatron/pgpatron/state"
)

// define puts a plan's container into the registry, and waits until the catalog
// shows this version of the plan.
func (s *site) define(plan, image string, byAdmin bool, version string) {
	s.t.Helper()
	value := fmt.Sprintf(`{"id": %q, "scheme": "postgresql", "image": {"name": %q}, "by_admin": %t}`, plan, image, byAdmin)
	if _, err := s.client.Put(s.t.Context(), state.DefinitionKey(plan), value); err != nil {
		s.t.Fatal(err)
	}
	s.poll("the catalog shows version "+version, func() bool { return s.versions()[plan] == version })
}

// versions returns what the catalog shows, by plan.
func (s *site) versions() map[string]string {
	s.t.Helper()
	var catalog struct {
		Services []struct {
			Plans []struct {
				ID              string
				MaintenanceInfo struct{ Version string } `json:"maintenance_info"`
			}
		}
	}
	if err := json.Unmarshal([]byte(s.call("GET", "/v2/catalog", nil).body), &catalog); err != nil {
		s.t.Fatal(err)
	}
	versions := map[string]string{}
	for _, p := range catalog.Services[0].Plans {
		versions[p.ID] = p.MaintenanceInfo.Version
	}
	return versions
}

// An operator brings a new image by putting the definition of a plan's container.
func TestPlansContainerOfTheRegistry(t *testing.T) {
	s := newSite(t, "b1", "b2")
	s.provision("before", clusterPlan)
	s.define(clusterPlan, "registry.local/image:7", true, "7")
	if got := s.versions()[singlePlan]; got != "1" {
		t.Errorf("another plan has version %s", got)
	}
	s.provision("after", clusterPlan)
	if got := s.cluster("after").Image; got != "registry.local/image:7" {
		t.Errorf("a new instance has image %s", got)
	}
	if got := s.cluster("before").Image; got != "image:1" {
		t.Errorf("image is %s: nobody has asked for another", got)
	}
	s.want(s.patch("before", map[string]any{"maintenance_info": map[string]any{"version": "1"}}), 422)
	s.done("before", s.patch("before", map[string]any{"maintenance_info": map[string]any{"version": "7"}}))
	if got := s.cluster("before").Image; got != "registry.local/image:7" {
		t.Errorf("an upgraded instance has image %s", got)
	}
	s.define(clusterPlan, "registry.local/image:8", false, "1")
}
