package patroni

import (
	"reflect"
	"testing"
)

// Of what a member tells, only the position of its WAL is no news: each field
// that is added has to be thought of.
func TestOnlyThePositionIsNoNews(t *testing.T) {
	yes := true
	news := Member{
		ConnURL: "x", APIURL: "x", Role: "x", State: "x", Version: "x", Timeline: 1, XlogLocation: 1, ReplicationState: "x",
		PendingRestart: true, Pause: true, CheckpointAfterPromote: &yes, Tags: map[string]any{"nofailover": true},
	}
	for i := range reflect.TypeFor[Member]().NumField() {
		field := reflect.TypeFor[Member]().Field(i).Name
		var now Member
		value := reflect.ValueOf(news).Field(i)
		if value.IsZero() {
			t.Fatalf("the test does not know the field %s", field)
		}
		reflect.ValueOf(&now).Elem().Field(i).Set(value)
		if same := (Member{}).sameButPosition(now); same != (field == "XlogLocation") {
			t.Errorf("%s: same = %t", field, same)
		}
	}
}
