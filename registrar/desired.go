package registrar

// desired is what the cluster records place on this backend.
type desired struct {
	backend string
	nodes   map[string]goal
	// clusters names the nodes of each cluster that has some here.
	clusters map[string][]string
}

func newDesired(backend string) desired {
	return desired{backend: backend, nodes: map[string]goal{}, clusters: map[string][]string{}}
}

// update takes in one cluster's record as it is now, and reports whether it
// places, or placed, nodes here. One that is too new changes nothing: what the
// last one that could be read has asked for stays as it is.
func (d desired) update(instance string, t tables) bool {
	before := d.clusters[instance]
	record, _ := t.clusters.Get(instance)
	if record.Value.CheckVersion() != nil {
		return false
	}
	for _, node := range before {
		delete(d.nodes, node)
	}
	delete(d.clusters, instance)
	for _, n := range record.Value.Nodes {
		if n.BackendID != d.backend {
			continue
		}
		g := goal{want: wantRunning, instance: instance, cluster: record.Value, spec: record.Value.SpecOf(n), revision: record.ModRevision}
		if n.Removed {
			g.want = wantRemoved
		}
		certificate, _ := t.certificates.Get(instance, n.NodeID)
		g.certificate, g.certified = certificate.Value, certificate.ModRevision
		d.nodes[n.NodeID] = g
		d.clusters[instance] = append(d.clusters[instance], n.NodeID)
	}
	return len(before) > 0 || len(d.clusters[instance]) > 0
}

// goals returns the goal of every node that is placed here or has something
// here.
func (d desired) goals(docker snapshot) map[string]goal {
	goals := make(map[string]goal, len(d.nodes))
	for node, instance := range docker.instances {
		goals[node] = goal{want: wantUnclaimed, instance: instance}
	}
	for node, g := range d.nodes {
		goals[node] = g
	}
	return goals
}
