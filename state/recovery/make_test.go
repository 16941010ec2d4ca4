package recovery_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/copies"
	"github.com/pgpatron/pgpatron/state/recovery"
)

// scene is evidence in the making.
type scene struct {
	*testing.T
	recovery.Evidence
}

func newScene(t *testing.T) *scene {
	return &scene{t, recovery.Evidence{Answers: map[string]copies.Answer{}, Existing: map[string]string{}}}
}

func (s *scene) answered(backends ...string) {
	for _, b := range backends {
		s.Answers[b] = copies.Answer{Backend: b, Hostname: "host-of-" + b}
	}
}

// cluster returns a record whose nodes are on the backends of the same number.
func cluster(id string, port int, nodes ...string) state.Cluster {
	c := state.Cluster{InstanceID: id, AllocatedPort: port, SuperuserCredentials: state.Credentials{Username: "postgres", Password: "word"}}
	for _, n := range nodes {
		c.Nodes = append(c.Nodes, state.Node{NodeID: n, BackendID: "b" + n[len(n)-1:]})
	}
	return c
}

// volume adds the volume of a node that runs, with a copy of that revision.
func (s *scene) volume(node string, revision int64, c state.Cluster) *recovery.Volume {
	s.Helper()
	record, err := json.Marshal(c)
	if err != nil {
		s.Fatal(err)
	}
	of := copies.Subject{Site: "here", Instance: c.InstanceID, Node: node, Backend: "b" + node[len(node)-1:]}
	s.Volumes = append(s.Volumes, recovery.Volume{
		Found:    copies.Found{Subject: of, Container: true, Running: true},
		Readable: true,
		Copy: copies.Copy{
			Header: copies.Header{Version: 1, Subject: of, Age: copies.Age{Revision: revision}},
			Records: []copies.Record{
				{Key: state.ClusterKey(c.InstanceID), Value: record},
				{Key: state.AllocationKey(c.InstanceID), Value: fmt.Append(nil, c.AllocatedPort)},
				{Key: state.InitializeKey(c.InstanceID), Value: []byte("7001")},
			},
		},
	})
	return &s.Volumes[len(s.Volumes)-1]
}

// plan makes the plan, which is to have these problems, by a word of each.
func (s *scene) plan(c recovery.Choices, problems ...string) recovery.Plan {
	s.Helper()
	p := recovery.Make(s.Evidence, c)
	for i, problem := range p.Problems {
		if i >= len(problems) || !strings.Contains(problem.Text, problems[i]) {
			s.Errorf("unexpected problem: %s", problem.Text)
		}
		if problem.Way == "" {
			s.Errorf("no way is told out of: %s", problem.Text)
		}
	}
	if len(p.Problems) < len(problems) {
		s.Errorf("%d problems, want %q", len(p.Problems), problems)
	}
	return p
}

func value(in recovery.Instance, key string) string {
	for _, r := range in.Records {
		if r.Key == key {
			return string(r.Value)
		}
	}
	return ""
}

func TestNewestCopyCounts(t *testing.T) {
	s := newScene(t)
	s.answered("b1", "b2", "b3")
	s.volume("n1", 10, cluster("a", 30000, "n1", "n2"))
	s.volume("n2", 30, cluster("a", 30000, "n1", "n2", "n3"))
	s.volume("n3", 20, cluster("a", 30000, "n1", "n3"))
	p := s.plan(recovery.Choices{})
	in := p.Instances[0]
	if in.From.Node != "n2" || in.Nodes != 3 || in.Running != 3 || in.Port != 30000 {
		t.Errorf("planned: %+v", in)
	}
	if value(in, state.PortKey(30000)) != "a" || value(in, state.AllocationKey("a")) != "30000" {
		t.Error("the port is not given back")
	}
	if len(in.Patroni) != 1 || in.Patroni[0].Key != state.InitializeKey("a") || value(in, state.InitializeKey("a")) != "" {
		t.Error("the system identifier is not Patroni's to overrule")
	}
	if p.Site != "here" || p.Era != 1 {
		t.Errorf("site %s, era %d", p.Site, p.Era)
	}
}

// A site that was recovered before counts its revisions anew.
func TestLaterEraCounts(t *testing.T) {
	s := newScene(t)
	s.answered("b1", "b2")
	s.volume("n1", 900, cluster("a", 30000, "n1"))
	s.volume("n2", 5, cluster("a", 30000, "n1", "n2")).Copy.Era = 1
	if p := s.plan(recovery.Choices{}); p.Instances[0].From.Node != "n2" || p.Era != 2 {
		t.Errorf("planned: %+v", p)
	}
}

func TestBackendThatIsSilentMayKnowMore(t *testing.T) {
	s := newScene(t)
	s.answered("b1")
	s.volume("n1", 10, cluster("a", 30000, "n1", "n2"))
	s.plan(recovery.Choices{}, "b2 has not answered")
	s.plan(recovery.Choices{Without: []string{"b2"}})
}

func TestTwoInstancesClaimOnePort(t *testing.T) {
	s := newScene(t)
	s.answered("b1")
	s.volume("n1", 10, cluster("a", 30000, "n1"))
	s.volume("m1", 10, cluster("b", 30000, "m1"))
	s.plan(recovery.Choices{}, "both claim port 30000")
	if p := s.plan(recovery.Choices{LeaveOut: []string{"b"}}); len(p.Instances) != 1 || p.Instances[0].ID != "a" {
		t.Errorf("planned: %+v", p.Instances)
	}
}

func TestPortThatEtcdGaveToAnother(t *testing.T) {
	s := newScene(t)
	s.answered("b1")
	s.volume("n1", 10, cluster("a", 30000, "n1"))
	s.Existing[state.PortKey(30000)] = "other"
	s.plan(recovery.Choices{}, "held by other")
}

func TestDoubtfulInstances(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*scene)
		want  string
	}{
		"deleted in the meantime": {func(s *scene) { s.volume("n1", 10, cluster("a", 30000, "n1")).Running = false }, "may have been deleted"},
		"being deleted": {func(s *scene) {
			c := cluster("a", 30000, "n1")
			c.Nodes[0].Removed = true
			s.volume("n1", 10, c)
		}, "was being deleted"},
		"somewhere else": {func(s *scene) {
			c := cluster("a", 30000, "n1")
			c.Nodes[0].BackendID = "b2"
			s.volume("n1", 10, c)
		}, "is on b1, and its record says b2"},
		"without passwords": {func(s *scene) {
			c := cluster("a", 30000, "n1")
			c.SuperuserCredentials.Password = ""
			s.volume("n1", 10, c).Copy.Bare = true
		}, "passwords of superuser"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.answered("b1", "b2")
			test.spoil(s)
			s.plan(recovery.Choices{}, test.want)
			if p := s.plan(recovery.Choices{Include: []string{"a"}}); len(p.Instances) != 1 || len(p.Instances[0].Notes) == 0 {
				t.Errorf("included: %+v", p)
			}
			if p := s.plan(recovery.Choices{LeaveOut: []string{"a"}}); len(p.Instances) != 0 {
				t.Errorf("left out: %+v", p)
			}
		})
	}
}

// What the nodes were given stands in for what a copy without a key leaves out.
func TestPasswordsFromTheNodes(t *testing.T) {
	s := newScene(t)
	s.answered("b1")
	c := cluster("a", 30000, "n1")
	c.SuperuserCredentials.Password = ""
	v := s.volume("n1", 10, c)
	v.Copy.Bare, v.Logins = true, map[string]state.Credentials{}
	for _, name := range []string{"superuser", "replication", "admin", "rest"} {
		v.Logins[name+"_credentials"] = state.Credentials{Password: state.Secret(name)}
	}
	v.Logins["superuser_credentials"] = state.Credentials{Username: "postgres", Password: "given"}
	in := s.plan(recovery.Choices{}).Instances[0]
	got, err := state.JSON[state.Cluster]([]byte(value(in, state.ClusterKey("a"))))
	if err != nil || got.SuperuserCredentials.Password != "given" || got.RESTCredentials.Password != "rest" {
		t.Errorf("the record is %v, %v", value(in, state.ClusterKey("a")), err)
	}
}

// A node that was down while passwords were replaced tells old ones: those that the
// node of the newest copy was given count. Spare ones come back, too.
func TestPasswordsThatWereReplaced(t *testing.T) {
	s := newScene(t)
	s.answered("b1", "b2")
	given := func(node, password string, age int64, edition int) {
		c := cluster("a", 30000, "n1", "n2")
		c.LoginEdition = edition
		for _, login := range []*state.Credentials{
			&c.SuperuserCredentials, &c.ReplicationCredentials, &c.AdminCredentials, &c.RESTCredentials,
			&c.SpareSuperuser, &c.SpareReplication, &c.SpareAdmin, &c.SpareREST,
		} {
			*login = state.Credentials{Username: "u"}
		}
		v := s.volume(node, age, c)
		v.Copy.Bare, v.Logins = true, map[string]state.Credentials{}
		for _, name := range []string{"superuser", "replication", "admin", "rest"} {
			v.Logins[name+"_credentials"] = state.Credentials{Username: "u", Password: state.Secret(password)}
			v.Logins["spare_"+name+"_credentials"] = state.Credentials{Username: "u", Password: state.Secret("spare " + password)}
		}
	}
	given("n1", "new", 10, 2)
	given("n2", "old", 5, 0)
	in := s.plan(recovery.Choices{}).Instances[0]
	got, err := state.JSON[state.Cluster]([]byte(value(in, state.ClusterKey("a"))))
	if err != nil || got.AdminCredentials.Password != "new" || got.SpareREST.Password != "spare new" {
		t.Errorf("the record is %v, %v", value(in, state.ClusterKey("a")), err)
	}
}

func TestCopiesThatContradict(t *testing.T) {
	s := newScene(t)
	s.answered("b1", "b2")
	s.volume("n1", 10, cluster("a", 30000, "n1", "n2"))
	s.volume("n2", 10, cluster("a", 30001, "n1", "n2"))
	s.plan(recovery.Choices{}, "of the same moment and differ")
	if p := s.plan(recovery.Choices{Take: map[string]string{"a": "n2"}}); p.Instances[0].Port != 30001 {
		t.Errorf("planned: %+v", p.Instances[0])
	}
}

// A newer copy that can not be read is not passed over in silence.
func TestNewerCopyThatIsSealed(t *testing.T) {
	s := newScene(t)
	s.answered("b1", "b2")
	s.volume("n1", 10, cluster("a", 30000, "n1", "n2"))
	v := s.volume("n2", 20, cluster("a", 30000, "n1", "n2"))
	v.Readable, v.Problem = false, "sealed"
	s.plan(recovery.Choices{}, "can not be read: sealed")
	s.plan(recovery.Choices{Take: map[string]string{"a": "n1"}})
}

func TestVolumesWithoutAnyCopy(t *testing.T) {
	s := newScene(t)
	s.answered("b1")
	s.volume("n1", 10, cluster("a", 30000, "n1"))
	v := s.volume("m1", 10, cluster("b", 30001, "m1"))
	v.Readable, v.Problem, v.Copy = false, "its container is gone", copies.Copy{}
	s.plan(recovery.Choices{}, "no copy can be read: node m1 on b1: its container is gone")
	s.plan(recovery.Choices{LeaveOut: []string{"b"}})
}

func TestLeftoverOfANodeThatMoved(t *testing.T) {
	s := newScene(t)
	s.answered("b1", "b2")
	s.volume("n1", 10, cluster("a", 30000, "n1"))
	s.volume("n2", 20, cluster("a", 30000, "n2"))
	if in := s.plan(recovery.Choices{}).Instances[0]; in.From.Node != "n2" || !strings.Contains(strings.Join(in.Notes, ""), "node n1 on b1 is a leftover") {
		t.Errorf("planned: %+v", in)
	}
}

func TestCopiesOfTwoSites(t *testing.T) {
	s := newScene(t)
	s.answered("b1")
	s.volume("n1", 10, cluster("a", 30000, "n1"))
	v := s.volume("m1", 10, cluster("b", 30000, "m1"))
	v.Site, v.Copy.Site = "there", "there"
	s.plan(recovery.Choices{}, "copies of several sites: here, there")
	if p := s.plan(recovery.Choices{Site: "there"}); len(p.Instances) != 1 || p.Instances[0].ID != "b" || len(p.Notes) != 1 {
		t.Errorf("planned: %+v", p)
	}
}

func TestEtcdOfAnotherSite(t *testing.T) {
	s := newScene(t)
	s.answered("b1")
	s.volume("n1", 10, cluster("a", 30000, "n1"))
	s.Site = "elsewhere" // as a registrar makes it that starts over an empty etcd
	s.plan(recovery.Choices{})
	s.Existing[state.ClusterKey("z")] = `{"instance_id":"z"}`
	s.plan(recovery.Choices{}, "which has instances: z")
}

func TestNothingIsFound(t *testing.T) { newScene(t).plan(recovery.Choices{}, "no copy of any record") }

// A copy without passwords is no other than a record that has them.
func TestBareCopyOfARecordThatEtcdHas(t *testing.T) {
	s := newScene(t)
	s.answered("b1")
	s.Site = "here"
	c := cluster("a", 30000, "n1")
	c.AppCredentials = state.Credentials{Username: "owner", Password: "of nobody"}
	for _, r := range s.volume("n1", 10, c).Copy.Records {
		s.Existing[r.Key] = string(r.Value)
	}
	s.Existing[state.PortKey(30000)] = "a"
	s.Volumes = nil
	c.SuperuserCredentials.Password, c.AppCredentials.Password = "", ""
	s.volume("n1", 10, c).Copy.Bare = true
	if p := s.plan(recovery.Choices{Include: []string{"a"}}); !p.Instances[0].There {
		t.Errorf("planned: %+v", p.Instances[0])
	}
	s.Existing[state.ClusterKey("a")] = strings.Replace(s.Existing[state.ClusterKey("a")], "30000", "30001", 1)
	s.plan(recovery.Choices{Include: []string{"a"}}, "etcd has other records")
}

// An etcd that a backup was restored into has some records, and older ones.
func TestRecordsThatEtcdHas(t *testing.T) {
	s := newScene(t)
	s.answered("b1")
	s.Site = "here"
	v := s.volume("n1", 10, cluster("a", 30000, "n1"))
	for _, r := range v.Copy.Records {
		s.Existing[r.Key] = string(r.Value)
	}
	s.Existing[state.PortKey(30000)] = "a"
	if p := s.plan(recovery.Choices{}); !p.Instances[0].There {
		t.Errorf("planned: %+v", p.Instances[0])
	}
	s.Existing[state.ClusterKey("a")] = `{"instance_id":"a"}`
	s.plan(recovery.Choices{}, "etcd has other records")
	s.Era = 1 // the copy is from before the recovery
	if p := s.plan(recovery.Choices{}); !p.Instances[0].There {
		t.Errorf("planned: %+v", p.Instances[0])
	}
}

func TestSwitchOfABackend(t *testing.T) {
	s := newScene(t)
	s.answered("b1")
	s.volume("n1", 20, cluster("a", 30000, "n1")).Copy.Host = []copies.Record{{Key: state.CordonKey("b1"), Value: []byte(state.Disabled)}}
	s.volume("m1", 10, cluster("b", 30001, "m1"))
	if p := s.plan(recovery.Choices{}); len(p.Switches) != 1 || p.Switches[0].Key != state.CordonKey("b1") {
		t.Errorf("planned: %+v", p.Switches)
	}
}
