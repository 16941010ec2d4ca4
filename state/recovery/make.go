package recovery

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/copies"
)

// Make makes a plan of the evidence and what was decided.
func Make(e Evidence, c Choices) Plan {
	m := &maker{Evidence: e, choices: c}
	m.plan = Plan{Before: e.Site, Era: e.Era}
	for _, id := range slices.Sorted(maps.Keys(e.Answers)) {
		m.plan.Hosts = append(m.plan.Hosts, Host{ID: id, Hostname: e.Answers[id].Hostname, Volumes: e.Answers[id].Volumes})
	}
	if !m.chooseSite() {
		return m.plan
	}
	byInstance := map[string][]Volume{}
	for _, v := range e.Volumes {
		if v.Site == m.plan.Site {
			byInstance[v.Instance] = append(byInstance[v.Instance], v)
			m.plan.Era = max(m.plan.Era, v.Copy.Era)
		}
	}
	m.plan.Era++
	for _, id := range slices.Sorted(maps.Keys(byInstance)) {
		m.instance(id, byInstance[id])
	}
	m.comparePorts()
	m.backends()
	m.strangers(byInstance)
	return m.plan
}

// maker is a plan in the making.
type maker struct {
	Evidence
	choices Choices
	plan    Plan
}

func (m *maker) problem(way, format string, args ...any) {
	m.plan.Problems = append(m.plan.Problems, Problem{Text: fmt.Sprintf(format, args...), Way: way})
}

func (m *maker) note(format string, args ...any) {
	m.plan.Notes = append(m.plan.Notes, fmt.Sprintf(format, args...))
}

// chooseSite decides which site is recovered.
func (m *maker) chooseSite() bool {
	found := map[string]int{}
	for _, v := range m.Volumes {
		if v.Copy.Version != 0 && v.Copy.Site == v.Site {
			found[v.Site]++
		}
	}
	sites := slices.Sorted(maps.Keys(found))
	switch {
	case m.choices.Site != "":
		m.plan.Site = m.choices.Site
	case len(sites) == 1:
		m.plan.Site = sites[0]
	case len(sites) == 0:
		m.problem("start the registrars of all hosts, and look at their logs", "no copy of any record was found")
	default:
		m.problem("--site ID", "there are copies of several sites: %s", strings.Join(sites, ", "))
	}
	if m.plan.Site != "" && m.Site != "" && m.Site != m.plan.Site && len(m.clusters()) > 0 {
		m.problem("recover into an etcd of its own", "etcd serves the site %s, which has instances: %s", m.Site, strings.Join(m.clusters(), ", "))
		return false
	}
	return m.plan.Site != ""
}

// clusters returns the ids of the instances that etcd has.
func (m *maker) clusters() []string {
	var ids []string
	for key, value := range m.Existing {
		cluster, err := state.JSON[state.Cluster]([]byte(value))
		if err == nil && key == state.ClusterKey(cluster.InstanceID) {
			ids = append(ids, cluster.InstanceID)
		}
	}
	slices.Sort(ids)
	return ids
}

// comparePorts refuses a port that two instances claim.
func (m *maker) comparePorts() {
	claims := map[int]string{}
	for _, in := range m.plan.Instances {
		for _, port := range []int{in.Port, in.ReadOnlyPort} {
			if port == 0 {
				continue
			}
			if other, taken := claims[port]; taken {
				m.problem(leaveOut(other, in.ID), "the instances %s and %s both claim port %d", other, in.ID, port)
			}
			claims[port] = in.ID
			if holder := m.Existing[state.PortKey(port)]; holder != "" && holder != in.ID {
				m.problem(leaveOut(in.ID), "port %d of instance %s is held by %s in etcd", port, in.ID, holder)
			}
		}
	}
}

// backends brings the switches of backends: each from the newest copy there.
func (m *maker) backends() {
	newest := map[string]copies.Copy{}
	for _, v := range m.Volumes {
		if v.Readable && v.Site == m.plan.Site && v.Copy.Age.Compare(newest[v.Backend].Age) >= 0 {
			newest[v.Backend] = v.Copy
		}
	}
	for _, id := range slices.Sorted(maps.Keys(newest)) {
		for _, r := range newest[id].Host {
			if _, there := m.Existing[r.Key]; !there {
				m.plan.Switches = append(m.plan.Switches, r)
			}
		}
	}
}

// strangers tells of what is none of the plan's business.
func (m *maker) strangers(ours map[string][]Volume) {
	others := 0
	for _, v := range m.Volumes {
		if v.Site != m.plan.Site {
			others++
		}
	}
	if others > 0 {
		m.note("%d volumes are of other sites and are left alone", others)
	}
	for _, id := range m.clusters() {
		if len(ours[id]) == 0 {
			m.note("instance %s is in etcd and no volume of it was found: it is left as it is", id)
		}
	}
}

// leaveOut is the way out of a contradiction between instances.
func leaveOut(ids ...string) string { return "--leave-out " + strings.Join(ids, ", or --leave-out ") }

// age says in words how new a copy is.
func age(a copies.Age) string { return fmt.Sprintf("revision %d of era %d", a.Revision, a.Era) }

// newestFirst orders volumes by their copies; those of one age by node.
func newestFirst(a, b Volume) int {
	return cmp.Or(b.Copy.Age.Compare(a.Copy.Age), strings.Compare(a.Node, b.Node))
}
