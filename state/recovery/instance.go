package recovery

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/copies"
	"github.com/pgpatron/pgpatron/state/sealed"
)

// instance plans one instance from its volumes.
func (m *maker) instance(id string, volumes []Volume) {
	if slices.Contains(m.choices.LeaveOut, id) {
		m.note("instance %s is left out, as decided", id)
		return
	}
	slices.SortFunc(volumes, newestFirst)
	chosen, ok := m.choose(id, volumes)
	if !ok {
		return
	}
	cluster, err := chosen.Copy.Cluster()
	if err != nil {
		m.problem(leaveOut(id), "instance %s: %v", id, err)
		return
	}
	in := Instance{ID: id, From: chosen.Copy.Header}
	if missing := m.fill(&cluster, chosen, volumes); len(missing) > 0 {
		m.doubt(&in, "no copy and no node tells the passwords of %s", strings.Join(missing, ", "))
	}
	m.split(&in, chosen.Copy, cluster)
	m.inspect(&in, cluster, volumes)
	m.compare(&in, chosen.Copy)
	m.plan.Instances = append(m.plan.Instances, in)
}

// doubt is a problem of an instance unless somebody has decided to include it.
func (m *maker) doubt(in *Instance, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if slices.Contains(m.choices.Include, in.ID) {
		in.Notes = append(in.Notes, text+"; included, as decided")
		return
	}
	m.problem("--include "+in.ID+", or --leave-out "+in.ID, "instance %s: %s", in.ID, text)
}

// choose returns the volume whose copy counts: the newest one by its own word, or
// the one that was decided on.
func (m *maker) choose(id string, volumes []Volume) (Volume, bool) {
	if node := m.choices.Take[id]; node != "" {
		i := slices.IndexFunc(volumes, func(v Volume) bool { return v.Node == node && v.Readable })
		if i < 0 {
			m.problem("--take "+id+"=NODE", "instance %s: there is no copy of node %s that can be read", id, node)
			return Volume{}, false
		}
		return volumes[i], true
	}
	first := slices.IndexFunc(volumes, func(v Volume) bool { return v.Readable })
	if first < 0 {
		m.problem(leaveOut(id), "instance %s: no copy can be read: %s", id, problems(volumes))
		return Volume{}, false
	}
	chosen := volumes[first]
	for _, v := range volumes[:first] {
		if v.Copy.Age.Compare(chosen.Copy.Age) > 0 {
			m.problem("--take "+id+"="+chosen.Node, "instance %s: the newest copy, %s on %s, can not be read: %s; the next one is of node %s, %s",
				id, age(v.Copy.Age), v.Backend, v.Problem, chosen.Node, age(chosen.Copy.Age))
			return Volume{}, false
		}
	}
	for _, v := range volumes[first+1:] {
		if v.Readable && v.Copy.Age == chosen.Copy.Age && !v.Copy.Alike(chosen.Copy) {
			m.problem("--take "+id+"="+chosen.Node+", or --take "+id+"="+v.Node,
				"instance %s: the copies of the nodes %s and %s are of the same moment and differ", id, chosen.Node, v.Node)
			return Volume{}, false
		}
	}
	return chosen, true
}

func problems(volumes []Volume) string {
	var texts []string
	for _, v := range volumes {
		texts = append(texts, fmt.Sprintf("node %s on %s: %s", v.Node, v.Backend, v.Problem))
	}
	return strings.Join(texts, "; ")
}

// fill puts into a record without passwords those that the nodes were given, and
// returns whose are missing. The owner's is not: nobody can log in as the owner.
func (m *maker) fill(cluster *state.Cluster, chosen Volume, volumes []Volume) (missing []string) {
	if !chosen.Copy.Bare {
		return nil
	}
	_, replaced := cluster.SpareLogins()
	for _, login := range cluster.NamedLogins() {
		if login.Spare && !replaced {
			continue
		}
		// The last one counts: nodes that were down may tell passwords from before.
		for _, v := range append(slices.Clone(volumes), chosen) {
			if known := v.Logins[login.Name]; known.Password != "" && known.Username == login.Login.Username {
				*login.Login = known
			}
		}
		if login.Login.Password == "" {
			missing = append(missing, strings.TrimSuffix(login.Name, "_credentials"))
		}
	}
	return missing
}

// split sorts a copy's records into ours and Patroni's, and adds the ports.
func (m *maker) split(in *Instance, c copies.Copy, cluster state.Cluster) {
	for _, r := range c.Records {
		switch {
		case r.Key == state.InitializeKey(in.ID), r.Key == state.ConfigKey(in.ID):
			in.Patroni = append(in.Patroni, r)
			continue
		case r.Key == state.ClusterKey(in.ID) && c.Bare:
			r = record(cluster)
		case strings.HasPrefix(r.Key, state.BindingPrefix(in.ID)):
			in.Bindings++
		}
		in.Records = append(in.Records, r)
	}
	in.Port = m.port(in, c, state.AllocationKey(in.ID), cluster.AllocatedPort)
	in.ReadOnlyPort = m.port(in, c, state.ReadOnlyKey(in.ID), cluster.ReadOnlyPort)
}

// port adds what makes a public port the instance's: the one of its allocation,
// or if there was none the one of its record.
func (m *maker) port(in *Instance, c copies.Copy, key string, recorded int) int {
	port := recorded
	if value, ok := c.Value(key); ok {
		allocated, err := state.Integer(value)
		if err != nil || recorded != 0 && allocated != recorded {
			m.doubt(in, "its record says port %d, and %s says %s", recorded, key, value)
		}
		port = allocated
	} else if port != 0 {
		in.Records = append(in.Records, copies.Record{Key: key, Value: strconv.AppendInt(nil, int64(port), 10)})
	}
	if port != 0 {
		in.Records = append(in.Records, copies.Record{Key: state.PortKey(port), Value: []byte(in.ID)})
	}
	return port
}

// inspect looks for what makes an instance doubtful: hosts that have not told what
// they know, nodes that are gone, a deletion that was under way.
func (m *maker) inspect(in *Instance, cluster state.Cluster, volumes []Volume) {
	found := map[string]Volume{}
	for _, v := range volumes {
		found[v.Node] = v
		if n, named := cluster.Node(v.Node); !named {
			in.Notes = append(in.Notes, fmt.Sprintf("the volume of node %s on %s is a leftover: the record does not name it", v.Node, v.Backend))
		} else if n.BackendID != v.Backend {
			m.doubt(in, "node %s is on %s, and its record says %s", v.Node, v.Backend, n.BackendID)
		}
		if v.Running {
			in.Running++
		}
	}
	leaving := 0
	for _, n := range cluster.Nodes {
		if n.Removed {
			leaving++
			continue
		}
		in.Nodes++
		if _, told := m.Answers[n.BackendID]; !told && !slices.Contains(m.choices.Without, n.BackendID) {
			m.problem("start its registrar, or --without "+n.BackendID,
				"instance %s: backend %s has not answered, and may have a newer copy", in.ID, n.BackendID)
		} else if v, ok := found[n.NodeID]; told && !ok {
			in.Notes = append(in.Notes, fmt.Sprintf("nothing is left of node %s on %s: it will be made anew", n.NodeID, n.BackendID))
		} else if ok && !v.Readable {
			in.Notes = append(in.Notes, fmt.Sprintf("node %s on %s: %s", v.Node, v.Backend, v.Problem))
		}
	}
	switch {
	case leaving > 0 && in.Nodes == 0:
		m.doubt(in, "it was being deleted: if it is recovered, that is carried on")
	case in.Running == 0:
		m.doubt(in, "none of its containers runs: it may have been deleted after the copy was made")
	}
}

// compare looks at what etcd has already.
func (m *maker) compare(in *Instance, c copies.Copy) {
	if _, exists := m.Existing[state.ClusterKey(in.ID)]; !exists {
		return
	}
	differs := slices.ContainsFunc(in.Records, func(r copies.Record) bool {
		there, ok := m.Existing[r.Key]
		if c.Bare { // what it does not know it can not compare
			there, r.Value = string(sealed.Bare(r.Key, []byte(there))), sealed.Bare(r.Key, r.Value)
		}
		return ok && !says(there, r)
	})
	complete := !slices.ContainsFunc(in.Records, func(r copies.Record) bool { _, ok := m.Existing[r.Key]; return !ok })
	switch {
	case m.Site == m.plan.Site && m.Era > c.Era, !differs && complete:
		in.There = true
	case differs:
		m.problem(leaveOut(in.ID)+", which leaves it as etcd has it", "instance %s: etcd has other records of it than the copy of %s", in.ID, age(c.Age))
	}
}

// says reports whether a value of etcd is what a record holds. The fields of JSON
// may stand in any order.
func says(value string, r copies.Record) bool {
	if value == string(r.Value) {
		return true
	}
	a, errA := state.JSON[map[string]any]([]byte(value))
	b, errB := state.JSON[map[string]any](r.Value)
	return errA == nil && errB == nil && reflect.DeepEqual(a, b)
}

// record encodes a cluster's record. There is nothing in one that can not be.
func record(cluster state.Cluster) copies.Record {
	value, _ := json.Marshal(cluster)
	return copies.Record{Key: state.ClusterKey(cluster.InstanceID), Value: value}
}
