package registrar

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A node whose container is not there yet is tried again for as long as it is to be here,
// and no longer.
func TestCopyistForgetsWhoHasLeft(t *testing.T) {
	t.Parallel()
	c := newCopyist(Config{}, nil, nil, newInventory(func(string) {}), nil)
	c.shelves["n1"], c.shelves["n2"] = &shelf{}, &shelf{}
	c.want("db1", []string{"n1", "n2"})
	c.want("db2", []string{"n3"})
	check := func(when string, due ...string) {
		t.Helper()
		want := map[string]string{}
		for _, node := range due {
			want[node] = map[string]string{"n1": "db1", "n2": "db1", "n3": "db2"}[node]
		}
		if diff := cmp.Diff(want, c.due); diff != "" {
			t.Errorf("%s is due (-want +got):\n%s", when, diff)
		}
	}
	check("before there is any container", "n1", "n2", "n3")
	if wait := c.round(t.Context()); wait != copyRetry {
		t.Errorf("comes again after %s, want %s", wait, copyRetry)
	}
	check("after a round", "n1", "n2", "n3")

	c.want("db1", []string{"n1"})
	check("after n2 has left", "n1", "n3")
	due := c.take()
	c.want("db2", nil)
	for node, instance := range due {
		c.postpone(node, instance)
	}
	check("after n3 has left during a round", "n1")
	if diff := cmp.Diff([]string{"n1"}, slices.Sorted(maps.Keys(c.shelves))); diff != "" {
		t.Errorf("shelves are known of (-want +got):\n%s", diff)
	}
	c.want("db1", nil)
	if wait := c.round(t.Context()); len(c.due) > 0 || wait == copyRetry {
		t.Errorf("%v is due of an instance that is not here", c.due)
	}
}
