package broker

import (
	"slices"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/state"
)

func backends(ids ...string) []state.Backend {
	var out []state.Backend
	for _, id := range ids {
		sick := strings.HasPrefix(id, "sick")
		b := state.Backend{ID: id, DockerVersion: "28"}
		if sick {
			b.DockerVersion = ""
		}
		out = append(out, b)
	}
	return out
}

func TestPlace(t *testing.T) {
	for name, test := range map[string]struct {
		nodes    int
		backends []state.Backend
		load     map[string]int
		share    bool
		want     []string
		err      string
	}{
		"ties by name":           {nodes: 2, backends: backends("c", "b", "a"), want: []string{"a", "b"}},
		"fewest nodes first":     {nodes: 2, backends: backends("a", "b", "c"), load: map[string]int{"a": 5, "b": 1}, want: []string{"c", "b"}},
		"the sick are left out":  {nodes: 1, backends: backends("sick", "z"), want: []string{"z"}},
		"too few":                {nodes: 3, backends: backends("a", "sick"), err: "not enough backends: plan p needs 3, 1 is healthy"},
		"two are too few":        {nodes: 3, backends: backends("a", "b"), err: "not enough backends: plan p needs 3, 2 are healthy"},
		"none":                   {nodes: 1, share: true, err: "not enough backends: plan p needs 1, 0 are healthy"},
		"shared":                 {nodes: 2, backends: backends("a"), share: true, want: []string{"a", "a"}},
		"shared but still apart": {nodes: 2, backends: backends("a", "b"), load: map[string]int{"b": 9}, share: true, want: []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := place(Plan{Name: "p", Nodes: test.nodes}, test.backends, test.load, test.share)
			if err == nil && test.err != "" || err != nil && err.Error() != test.err {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("placed on %q, want %q", got, test.want)
			}
		})
	}
}
