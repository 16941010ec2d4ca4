package broker_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/broker"
	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/fixtures"
)

func TestCatalog(t *testing.T) {
	s := newSite(t)
	r := s.want(s.call("GET", "/v2/catalog", nil), http.StatusOK)
	fixtures.Golden(t, "catalog.json", []byte(r.body))
}

func TestCatalogIsTagged(t *testing.T) {
	s := newSite(t)
	first := s.want(s.call("GET", "/v2/catalog", nil), http.StatusOK)
	tag := first.header.Get("ETag")
	s.headers = map[string]string{"If-None-Match": `"other", W/` + tag}
	if again := s.want(s.call("GET", "/v2/catalog", nil), http.StatusNotModified); again.body != "" {
		t.Errorf("a catalog that did not change is sent again: %s", again.body)
	}
	s.headers = map[string]string{"If-None-Match": `"other"`}
	s.want(s.call("GET", "/v2/catalog", nil), http.StatusOK)
}

func TestCatalogIsTheConfigurations(t *testing.T) {
	s := newSite(t)
	s.stop()
	charged := false
	s.config.Service = catalog.Service{
		DisplayName: "Our PostgreSQL", LongDescription: "long", Provider: "us", DocumentationURL: "https://example.org/docs",
		SupportURL: "mailto:us@example.org", ImageURL: "https://example.org/icon.png",
	}
	s.config.Plans = []catalog.Plan{
		{ID: "p1", Name: "small", Description: "d", Nodes: 1, MemoryMB: 256, MilliCPU: 100, Offer: catalog.Offer{
			DisplayName: "Small", Bullets: []string{"one", "two"}, Metadata: map[string]any{"tier": map[string]any{"level": 1}},
			Costs: []catalog.Cost{{Amount: map[string]float64{"eur": 9.5}, Unit: "MONTHLY"}},
		}},
		{ID: "p2", Name: "gift", Description: "d", Nodes: 1, MemoryMB: 256, MilliCPU: 100, Offer: catalog.Offer{Free: &charged}},
	}
	s.start()
	r := s.want(s.call("GET", "/v2/catalog", nil), http.StatusOK)
	fixtures.Golden(t, "catalog-configured.json", []byte(r.body))
}

// Platforms check what users send against the schemas.
func TestCatalogSchemas(t *testing.T) {
	s := newSite(t)
	var catalog struct {
		Services []struct {
			Plans []struct {
				Schemas map[string]map[string]struct{ Parameters json.RawMessage }
			}
		}
	}
	r := s.want(s.call("GET", "/v2/catalog", nil), http.StatusOK)
	if err := json.Unmarshal([]byte(r.body), &catalog); err != nil {
		t.Fatal(err)
	}
	for _, plan := range catalog.Services[0].Plans {
		for _, of := range [][2]string{{"service_instance", "create"}, {"service_instance", "update"}, {"service_binding", "create"}} {
			raw := plan.Schemas[of[0]][of[1]].Parameters
			var schema struct {
				Schema               string `json:"$schema"`
				AdditionalProperties *bool  `json:"additionalProperties"`
			}
			if err := json.Unmarshal(raw, &schema); err != nil {
				t.Fatalf("%s: %v", of, err)
			}
			if schema.Schema != "http://json-schema.org/draft-04/schema#" || schema.AdditionalProperties == nil || *schema.AdditionalProperties {
				t.Errorf("%s: schema is %s", of, raw)
			}
			if len(raw) > 64<<10 {
				t.Errorf("%s: schema has %d bytes, the specification allows 64 KiB", of, len(raw))
			}
		}
	}
}

func TestOffersAreValidated(t *testing.T) {
	plan := func(o catalog.Offer) broker.Config {
		return broker.Config{Plans: []catalog.Plan{{ID: "p", Name: "p", Description: "d", Nodes: 1, MemoryMB: 256, MilliCPU: 100, Offer: o}}}
	}
	for says, cfg := range map[string]broker.Config{
		"plans[0].max_instances":         plan(catalog.Offer{MaxInstances: -1}),
		"plans[0].max_sessions":          plan(catalog.Offer{MaxSessions: -1}),
		"plans[0].bullets":               plan(catalog.Offer{Bullets: []string{""}}),
		"plans[0].costs[0]: amount":      plan(catalog.Offer{Costs: []catalog.Cost{{Unit: "MONTHLY"}}}),
		"must name a currency":           plan(catalog.Offer{Costs: []catalog.Cost{{Unit: "MONTHLY", Amount: map[string]float64{"eur": -1}}}}),
		"plans[0].metadata.costs":        plan(catalog.Offer{Metadata: map[string]any{"costs": 1}}),
		"plans[0].metadata: can not":     plan(catalog.Offer{Metadata: map[string]any{"f": func() {}}}),
		"broker.service.support_url":     {Service: catalog.Service{SupportURL: "nonsense"}},
		"broker.service.image_url":       {Service: catalog.Service{ImageURL: "file:///etc/passwd"}},
		"broker.min_binding_lifetime":    {MinBindingLifetime: time.Second},
		"the first not above the second": {MinBindingLifetime: time.Hour, MaxBindingLifetime: time.Minute},
	} {
		if err := cfg.WithDefaults().Validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error does not say %q: %v", says, err)
		}
	}
}
