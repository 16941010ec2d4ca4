package registrar

import "github.com/pgpatron/pgpatron/state"

// concerned takes in what changed and reports whether any of it matters here.
// Patroni's many writes do not: they must cost nothing.
func (r *Registrar) concerned(t state.Tick) bool {
	concerned := r.fresh.Swap(false) || t.Lease != r.lease
	r.lease = t.Lease
	r.foreign.hold(t.Lease)
	for params := range r.tables.clusters.Changed() {
		concerned = r.desired.update(params[0], r.tables) || concerned
		r.copyist.want(params[0], r.desired.clusters[params[0]])
	}
	for params := range r.tables.certificates.Changed() {
		concerned = r.desired.update(params[0], r.tables) || concerned
	}
	r.copied()
	for params := range r.tables.announcements.Changed() {
		concerned = r.noteAnnouncement(params[0]) || concerned
	}
	for params := range r.tables.statuses.Changed() {
		concerned = r.noteStatus(params[0]) || concerned
	}
	return concerned || r.led()
}

// copied has what changed copied to the volumes of the nodes here.
func (r *Registrar) copied() {
	for _, t := range r.tables.copied {
		for params := range t.Changed() {
			r.copyist.want(params[0], r.desired.clusters[params[0]])
		}
	}
	for params := range r.tables.switches.Changed() {
		instance, _ := state.Switch{Kind: state.ReplicaSwitch, Name: params[0]}.Replica()
		r.copyist.want(instance, r.desired.clusters[instance])
	}
	for params := range r.tables.cordons.Changed() {
		if params[0] != r.backend {
			continue
		}
		for instance, nodes := range r.desired.clusters {
			r.copyist.want(instance, nodes)
		}
	}
}

// led reports whether another leads one of the clusters here, or one's
// configuration or a backend is another now.
func (r *Registrar) led() (concerned bool) {
	here := func(instance string) bool { return len(r.desired.clusters[instance]) > 0 }
	for params := range r.tables.leaders.Changed() {
		concerned = concerned || here(params[0])
	}
	for params := range r.tables.readOnly.Changed() {
		concerned = concerned || here(params[0])
	}
	for range r.tables.backends.Changed() {
		concerned = true
	}
	return concerned
}

// noteAnnouncement keeps r.known.
func (r *Registrar) noteAnnouncement(param string) (mine bool) {
	a, mine := r.parseAnnouncement(param)
	if !mine {
		return false
	}
	delete(r.known, a)
	if _, there := r.tables.announcements.Get(param); there {
		r.known[a] = struct{}{}
	}
	return true
}

// noteStatus keeps r.told. A status is this backend's if it says so; one that
// somebody else wrote over is put right by its node.
func (r *Registrar) noteStatus(node string) (mine bool) {
	_, was := r.told[node]
	_, placed := r.desired.nodes[node]
	delete(r.told, node)
	status, there := r.tables.statuses.Get(node)
	if is := there && status.Value.BackendID == r.backend; is {
		r.told[node] = struct{}{}
		return true
	}
	return was || placed
}
