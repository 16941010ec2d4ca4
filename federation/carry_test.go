package federation

import (
	"testing"

	"github.com/pgpatron/pgpatron/state"
)

// What was told is known as long as there is something to tell of the instance.
func TestToldIsForgotten(t *testing.T) {
	c := newCarrier(nil)
	c.told["over"], c.told["moves"] = notice{"m1", 5}, notice{"m2", 1}
	c.keep([]state.MoveNote{{Instance: "moves", Move: "m2", Seq: 2}, {Instance: "new", Move: "m3", Seq: 1}})
	if len(c.told) != 1 || c.told["moves"] != (notice{"m2", 1}) {
		t.Errorf("known to be told are %v", c.told)
	}
}
