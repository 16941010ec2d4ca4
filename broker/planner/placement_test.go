package planner

import (
	"slices"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/state"
)

// newFleet makes a backend of each word, ID or ID/ZONE. One whose id begins
// with sick has no Docker Engine, with off is cordoned.
func newFleet(words ...string) Fleet {
	f := Fleet{Cordoned: map[string]bool{}, Load: map[string]int{}}
	for _, word := range words {
		id, zone, _ := strings.Cut(word, "/")
		b := state.Backend{ID: id, Zone: zone, DockerVersion: "28"}
		if strings.HasPrefix(id, "sick") {
			b.DockerVersion = ""
		}
		f.Cordoned[id] = strings.HasPrefix(id, "off")
		f.Backends = append(f.Backends, b)
	}
	return f
}

func TestPlaceNew(t *testing.T) {
	for name, test := range map[string]struct {
		nodes int
		fleet Fleet
		load  map[string]int
		share bool
		want  []string
		err   string
	}{
		"ties by name":           {nodes: 2, fleet: newFleet("c", "b", "a"), want: []string{"a", "b"}},
		"fewest nodes first":     {nodes: 2, fleet: newFleet("a", "b", "c"), load: map[string]int{"a": 5, "b": 1}, want: []string{"c", "b"}},
		"the sick are left out":  {nodes: 1, fleet: newFleet("sick", "z"), want: []string{"z"}},
		"the cordoned, too":      {nodes: 1, fleet: newFleet("off", "z"), want: []string{"z"}},
		"too few":                {nodes: 3, fleet: newFleet("a", "sick"), err: "not enough backends: plan p needs 3, 1 is healthy"},
		"two are too few":        {nodes: 3, fleet: newFleet("a", "b"), err: "not enough backends: plan p needs 3, 2 are healthy"},
		"none":                   {nodes: 1, share: true, err: "not enough backends: plan p needs 1, 0 are healthy"},
		"shared":                 {nodes: 2, fleet: newFleet("a"), share: true, want: []string{"a", "a"}},
		"shared but still apart": {nodes: 2, fleet: newFleet("a", "b"), load: map[string]int{"b": 9}, share: true, want: []string{"a", "b"}},
		"zones before load":      {nodes: 2, fleet: newFleet("a/x", "b/x", "c/y"), load: map[string]int{"c": 9}, want: []string{"a", "c"}},
		"more nodes than zones":  {nodes: 3, fleet: newFleet("a/x", "b/x", "c/y"), want: []string{"a", "c", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.fleet.Load, test.fleet.Share = test.load, test.share
			got, err := test.fleet.PlaceNew(catalog.Plan{Name: "p"}, test.nodes)
			if err == nil && test.err != "" || err != nil && err.Error() != test.err {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("placed on %q, want %q", got, test.want)
			}
		})
	}
}

func TestPlaceBesideThoseThatStay(t *testing.T) {
	f := newFleet("a/x", "b/x", "c/y", "d/z")
	for name, test := range map[string]struct {
		nodes          int
		taken, avoided []string
		want           []string
	}{
		"never on one that is taken":    {2, []string{"a"}, nil, []string{"c", "d"}},
		"in another zone than the rest": {1, []string{"c", "d"}, nil, []string{"a"}},
		"not where it is to be left":    {1, []string{"a"}, []string{"c"}, []string{"d"}},
		"as many as there are":          {3, []string{"a", "b"}, []string{"c"}, []string{"d"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := f.place(test.nodes, test.taken, test.avoided); !slices.Equal(got, test.want) {
				t.Errorf("placed on %q, want %q", got, test.want)
			}
		})
	}
}
