package patroni

import (
	"testing"
	"time"
)

// A standby is relieved that stays where it is while commits wait for it and another goes on,
// and no other.
func TestRelief(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	at := func(pid int32, lsn string) []holdUp {
		return []holdUp{{pid: pid, name: "n2", lsn: lsn, replaceable: true}}
	}
	alone := func(pid int32, lsn string) []holdUp { return []holdUp{{pid: pid, name: "n2", lsn: lsn}} }
	for name, looks := range map[string]struct {
		found [][]holdUp
		want  bool
	}{
		"silent":                   {[][]holdUp{at(7, "0/1"), at(7, "0/1"), at(7, "0/1")}, true},
		"the other shows up late":  {[][]holdUp{alone(7, "0/1"), alone(7, "0/1"), at(7, "0/1")}, true},
		"all are silent":           {[][]holdUp{at(7, "0/1"), alone(7, "0/1"), alone(7, "0/1")}, false},
		"slow":                     {[][]holdUp{at(7, "0/1"), at(7, "0/2"), at(7, "0/3")}, false},
		"back for a moment":        {[][]holdUp{at(7, "0/1"), nil, at(7, "0/1")}, false},
		"another session":          {[][]holdUp{at(7, "0/1"), at(7, "0/1"), at(8, "0/1")}, false},
		"nobody holds it up":       {[][]holdUp{nil, nil, nil}, false},
		"silent for a moment only": {[][]holdUp{nil, at(7, "0/1"), at(7, "0/1")}, false},
	} {
		var r relief
		got := false
		for i, found := range looks.found {
			at := now.Add(time.Duration(i) * reliefAfter / 2)
			got = r.holds(found, at)
			if r.held.needsProbe(at) {
				r.held.mark = "0/9" // as look has it written
			}
		}
		if got != looks.want {
			t.Errorf("%s: relieved: %t, want %t", name, got, looks.want)
		}
	}
}
