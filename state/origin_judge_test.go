package state

import "testing"

// One etcd is told from another by what it has, not by how far it has come alone.
func TestOriginIsJudged(t *testing.T) {
	t.Parallel()
	picture := origin{cluster: 7, revision: 100, site: "here", era: 1}
	for name, c := range map[string]struct {
		picture, now origin
		want         verdict
	}{
		"nothing known yet":                   {origin{}, picture, same},
		"further":                             {picture, origin{7, 200, "here", 1}, same},
		"set back":                            {picture, origin{7, 99, "here", 1}, replaced},
		"emptied":                             {picture, origin{7, 1, "", 0}, replaced},
		"emptied, and has come further since": {picture, origin{7, 200, "", 1}, replaced},
		"a new site's, and further":           {picture, origin{7, 200, "there", 1}, replaced},
		"another cluster":                     {picture, origin{8, 200, "here", 1}, replaced},
		"another cluster, recovered":          {picture, origin{8, 5, "here", 2}, recovered},
		"set back, recovered":                 {picture, origin{7, 5, "here", 2}, recovered},
		"recovered as a new site":             {picture, origin{8, 5, "there", 2}, replaced},
		"the site is named since":             {origin{cluster: 7, revision: 100}, origin{7, 200, "here", 0}, same},
		"a site waited for":                   {origin{site: "here"}, origin{7, 5, "there", 0}, replaced},
	} {
		if got := c.picture.judge(c.now); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
