package registrar

import (
	"sync"
	"time"
)

// inventory is the picture of what Docker has of this registrar's. The watcher
// and the workers put into it what they see; everybody reads.
//
// A look at Docker takes time, and two may overlap: of two looks at one
// container the one that began later counts.
type inventory struct {
	// changed is told of each node whose container or volume is not as it was,
	// and of "" when Docker itself is not, or when everything was listed.
	changed func(node string)

	// mu guards the rest.
	mu sync.Mutex
	// version is Docker's, empty while it does not answer.
	version string
	// loaded says that everything was listed once.
	loaded     bool
	containers map[string]sighting
	volumes    map[string]volume
}

// sighting is what a look found in the place of a node's container.
type sighting struct {
	container
	here bool
	at   time.Time
}

// same reports whether both saw the same.
func (s sighting) same(o sighting) bool {
	return s.here == o.here && s.id == o.id && s.running == o.running && s.dead == o.dead &&
		s.startedAt.Equal(o.startedAt) && s.exitCode == o.exitCode
}

func newInventory(changed func(node string)) *inventory {
	return &inventory{changed: changed, containers: map[string]sighting{}, volumes: map[string]volume{}}
}

// answers notes Docker's version, or that it does not answer any more. What it
// had stays in the picture: containers outlive the engine.
func (i *inventory) answers(version string) {
	i.mu.Lock()
	same := i.version == version
	i.version = version
	i.mu.Unlock()
	if !same {
		i.changed("")
	}
}

// dockerVersion returns what answers was last told.
func (i *inventory) dockerVersion() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.version
}

// load takes in a list of everything that a look found which began at at.
func (i *inventory) load(at time.Time, containers []container, volumes []volume) {
	i.mu.Lock()
	var changed []string
	listed := map[string]struct{}{}
	for _, c := range containers {
		listed[c.node] = struct{}{}
		if i.put(sighting{container: c, here: true, at: at}) {
			changed = append(changed, c.node)
		}
	}
	for node, s := range i.containers {
		if _, ok := listed[node]; !ok && s.at.Before(at) {
			delete(i.containers, node)
			changed = append(changed, node)
		}
	}
	clear(i.volumes)
	for _, v := range volumes {
		i.volumes[v.node] = v
	}
	i.loaded = true
	i.mu.Unlock()
	i.changed("")
	for _, node := range changed {
		i.changed(node)
	}
}

// put keeps a sighting unless a later one is there, and reports whether the
// picture is another now. Call it under mu.
func (i *inventory) put(s sighting) bool {
	old := i.containers[s.node]
	if s.at.Before(old.at) {
		return false
	}
	i.containers[s.node] = s
	return !s.same(old)
}

// saw takes in a look at one node's container, which began at at.
func (i *inventory) saw(node string, at time.Time, c container, here bool) {
	i.mu.Lock()
	c.node = node
	changed := i.put(sighting{container: c, here: here, at: at})
	i.mu.Unlock()
	if changed {
		i.changed(node)
	}
}

// died takes in a die event. One that is older than the run in the picture, or
// of another container, tells nothing about it.
func (i *inventory) died(e event) {
	i.mu.Lock()
	s, ok := i.containers[e.node]
	if !ok || !s.here || s.id != e.id || !s.running || e.at.Before(s.startedAt) {
		i.mu.Unlock()
		return
	}
	s.running, s.diedAt, s.exitCode, s.byEvent, s.at = false, e.at, e.exitCode, true, time.Now()
	s.heardAt = s.at
	i.containers[e.node] = s
	i.mu.Unlock()
	i.changed(e.node)
}

// hasVolume takes in that the node's volume exists, or does not any more.
func (i *inventory) hasVolume(node string, v volume, here bool) {
	i.mu.Lock()
	_, had := i.volumes[node]
	delete(i.volumes, node)
	if here {
		i.volumes[node] = v
	}
	i.mu.Unlock()
	if had != here {
		i.changed(node)
	}
}

// container returns the node's container. Before everything was listed once
// nobody knows, and loaded is false.
func (i *inventory) container(node string) (c container, here, loaded bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.containers[node]
	return s.container, s.here, i.loaded
}

// holds reports whether the node has a container or a volume.
func (i *inventory) holds(node string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	_, volume := i.volumes[node]
	return volume || i.containers[node].here
}

// fell reports whether the node's container is here and does not run, or was
// started only after at.
func (i *inventory) fell(node string, at time.Time) bool {
	c, here, _ := i.container(node)
	return here && (!c.running || c.startedAt.After(at))
}

// snapshot is the inventory at one moment.
type snapshot struct {
	loaded bool
	// running are the containers that run, by node; instances tells the cluster
	// of every node that has a container or a volume.
	running   map[string]container
	instances map[string]string
	// specs tells what each container was made from, by node.
	specs map[string]string
}

func (i *inventory) snapshot() snapshot {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := snapshot{loaded: i.loaded, running: map[string]container{}, instances: map[string]string{}, specs: map[string]string{}}
	for node, v := range i.volumes {
		s.instances[node] = v.instance
	}
	for node, c := range i.containers {
		if !c.here {
			continue
		}
		s.instances[node], s.specs[node] = c.instance, c.spec
		if c.running {
			s.running[node] = c.container
		}
	}
	return s
}
