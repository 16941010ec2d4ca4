package registrar_test

import (
	"archive/tar"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"
	"time"
)

// dockerd is a Docker Engine in memory, as far as a registrar asks one.
type dockerd struct {
	server *httptest.Server

	mu         sync.Mutex
	containers map[string]*fakeContainer // by name
	volumes    map[string]map[string]string
	images     map[string]bool
	streams    map[chan map[string]any]map[string]string // with the labels they want
	nextID     int
	down       bool
	deaf       bool // starts fail because ports are taken
	halfway    bool // the next removal ends halfway
	// hung, if set, is what everything waits for.
	hung chan struct{}
	// slowStop, if set, is what a stop waits for.
	slowStop chan struct{}
	// silentAfter makes the engine fall silent when it has done that.
	silentAfter string
	jump        time.Duration // of the host's clock
	// root is the folder of its data.
	root string
	log  []string
}

type fakeContainer struct {
	ID        string
	Name      string
	Image     string
	Labels    map[string]string
	Host      map[string]any
	Running   bool
	Dead      bool // it is removed by half
	StartedAt time.Time
	DiedAt    time.Time
	ExitCode  int
	Files     map[string]string
	Ports     map[string]any // those that are published
}

func newDockerd(t testing.TB) *dockerd {
	d := &dockerd{
		containers: map[string]*fakeContainer{}, volumes: map[string]map[string]string{},
		root:   t.TempDir(),
		images: map[string]bool{testImage: true}, streams: map[chan map[string]any]map[string]string{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_ping", d.ping)
	mux.HandleFunc("HEAD /_ping", d.ping)
	handle := func(pattern string, h func(w http.ResponseWriter, r *http.Request) (int, any)) {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" /v1.41"+path, func(w http.ResponseWriter, r *http.Request) {
			d.awaitThaw(r)
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.down {
				panic(http.ErrAbortHandler)
			}
			status, body := h(w, r)
			if n := len(d.log); n > 0 && d.log[n-1] == d.silentAfter {
				d.down = true // and the answer is lost
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			if body != nil {
				_ = json.NewEncoder(w).Encode(body)
			}
		})
	}
	handle("GET /version", func(http.ResponseWriter, *http.Request) (int, any) {
		return 200, map[string]any{"Version": "20.10.24", "ApiVersion": "1.41"}
	})
	handle("GET /info", func(http.ResponseWriter, *http.Request) (int, any) {
		return 200, map[string]any{"NCPU": 3, "MemTotal": 4 << 30, "DockerRootDir": d.root}
	})
	handle("GET /networks/bridge", func(http.ResponseWriter, *http.Request) (int, any) {
		return 200, map[string]any{"IPAM": map[string]any{"Config": []any{map[string]any{"Gateway": "172.17.0.1"}}}}
	})
	handle("GET /containers/json", d.listContainers)
	handle("POST /containers/create", d.createContainer)
	handle("GET /containers/{id}/json", d.inspectContainer)
	handle("PUT /containers/{id}/archive", d.copyFiles)
	mux.HandleFunc("GET /v1.41/containers/{id}/archive", d.readFile)
	handle("POST /containers/{id}/start", d.startContainer)
	handle("POST /containers/{id}/stop", d.stopContainer)
	handle("POST /containers/{id}/kill", d.killContainer)
	handle("DELETE /containers/{id}", d.removeContainer)
	handle("GET /volumes", d.listVolumes)
	handle("POST /volumes/create", d.createVolume)
	handle("GET /volumes/{name}", d.inspectVolume)
	handle("DELETE /volumes/{name}", d.removeVolume)
	handle("GET /images/{name}/json", d.inspectImage)
	handle("POST /images/create", d.pullImage)
	mux.HandleFunc("GET /v1.41/events", d.events)
	d.server = httptest.NewServer(mux)
	t.Cleanup(func() {
		d.breakStreams()
		d.server.CloseClientConnections()
		d.server.Close()
	})
	return d
}

func (d *dockerd) host() string { return "tcp://" + d.server.Listener.Addr().String() }

func (d *dockerd) ping(w http.ResponseWriter, _ *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("API-Version", "1.41")
}

// wantedLabels reads the label filter of a request.
func wantedLabels(r *http.Request) map[string]string {
	var filters map[string]map[string]bool
	_ = json.Unmarshal([]byte(r.URL.Query().Get("filters")), &filters)
	wanted := map[string]string{}
	for label := range filters["label"] {
		key, value, _ := strings.Cut(label, "=")
		wanted[key] = value
	}
	return wanted
}

func carries(labels, wanted map[string]string) bool {
	for key, value := range wanted {
		if got, ok := labels[key]; !ok || value != "" && got != value {
			return false
		}
	}
	return true
}

func (d *dockerd) find(ref string) *fakeContainer {
	for name, c := range d.containers {
		if name == ref || c.ID == ref {
			return c
		}
	}
	return nil
}

func notFound(what string) (int, any) {
	return 404, map[string]string{"message": "No such " + what}
}

func (d *dockerd) listContainers(_ http.ResponseWriter, r *http.Request) (int, any) {
	list := []any{}
	for _, c := range d.containers {
		if carries(c.Labels, wantedLabels(r)) {
			list = append(list, map[string]any{"Id": c.ID, "Names": []string{"/" + c.Name}, "Labels": c.Labels})
		}
	}
	return 200, list
}

func (d *dockerd) createContainer(_ http.ResponseWriter, r *http.Request) (int, any) {
	name := r.URL.Query().Get("name")
	if _, ok := d.containers[name]; ok {
		return 409, map[string]string{"message": "Conflict. The container name is already in use"}
	}
	var body struct {
		Image      string
		Labels     map[string]string
		HostConfig map[string]any
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	d.nextID++
	c := &fakeContainer{
		ID: fmt.Sprintf("id%d", d.nextID), Name: name, Image: body.Image, Labels: body.Labels,
		Host: body.HostConfig, Files: map[string]string{},
	}
	d.containers[name] = c
	d.log = append(d.log, "create "+name)
	return 201, map[string]string{"Id": c.ID}
}

func (d *dockerd) inspectContainer(_ http.ResponseWriter, r *http.Request) (int, any) {
	c := d.find(r.PathValue("id"))
	if c == nil {
		return notFound("container")
	}
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
	return 200, map[string]any{
		"Id": c.ID, "Name": "/" + c.Name, "HostConfig": c.Host,
		"Config":          map[string]any{"Labels": c.Labels, "Image": c.Image},
		"NetworkSettings": map[string]any{"Ports": c.Ports},
		"State": map[string]any{
			"Running": c.Running, "Dead": c.Dead, "ExitCode": c.ExitCode, "StartedAt": stamp(c.StartedAt), "FinishedAt": stamp(c.DiedAt),
		},
	}
}

func (d *dockerd) copyFiles(_ http.ResponseWriter, r *http.Request) (int, any) {
	c := d.find(r.PathValue("id"))
	if c == nil {
		return notFound("container")
	}
	archive := tar.NewReader(r.Body)
	for {
		h, err := archive.Next()
		if err != nil {
			return 200, nil
		}
		content, _ := io.ReadAll(archive)
		c.Files[r.URL.Query().Get("path")+h.Name] = string(content)
		c.Files["owner of "+h.Name] = fmt.Sprintf("%d:%d %o", h.Uid, h.Gid, h.Mode)
	}
}

// readFile answers with an archive of one file.
func (d *dockerd) readFile(w http.ResponseWriter, r *http.Request) {
	d.awaitThaw(r)
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.find(r.PathValue("id"))
	if d.down {
		panic(http.ErrAbortHandler)
	}
	name := r.URL.Query().Get("path")
	content, ok := "", false
	if c != nil {
		if c.Dead {
			http.Error(w, `{"message":"driver overlay2 is returning inconsistent paths"}`, http.StatusInternalServerError)
			return
		}
		content, ok = c.Files[name]
	}
	if !ok {
		http.Error(w, `{"message":"no such file"}`, http.StatusNotFound)
		return
	}
	w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString([]byte(`{}`)))
	archive := tar.NewWriter(w)
	_ = archive.WriteHeader(&tar.Header{Name: path.Base(name), Mode: 0o400, Size: int64(len(content))})
	_, _ = archive.Write([]byte(content))
	_ = archive.Close()
}

func (d *dockerd) startContainer(_ http.ResponseWriter, r *http.Request) (int, any) {
	c := d.find(r.PathValue("id"))
	switch {
	case c == nil:
		return notFound("container")
	case c.Running:
		return 304, nil
	case d.deaf:
		return 500, map[string]string{"message": "Bind for 127.0.0.1 failed: port is already allocated"}
	}
	c.Running, c.StartedAt = true, d.now()
	d.log = append(d.log, "start "+c.Name)
	d.tell("start", c)
	return 204, nil
}

func (d *dockerd) stopContainer(_ http.ResponseWriter, r *http.Request) (int, any) {
	c := d.find(r.PathValue("id"))
	if c == nil {
		return notFound("container")
	}
	d.log = append(d.log, "stop "+c.Name)
	if slow := d.slowStop; slow != nil {
		d.mu.Unlock()
		<-slow
		d.mu.Lock()
	}
	if d.silentAfter != "stop "+c.Name {
		d.kill(c, 0)
	}
	return 204, nil
}

func (d *dockerd) killContainer(_ http.ResponseWriter, r *http.Request) (int, any) {
	c := d.find(r.PathValue("id"))
	if c == nil {
		return notFound("container")
	}
	if signal := r.URL.Query().Get("signal"); signal == "HUP" {
		d.log = append(d.log, "reload "+c.Name)
		return 204, nil
	}
	d.kill(c, 137)
	return 204, nil
}

func (d *dockerd) removeContainer(_ http.ResponseWriter, r *http.Request) (int, any) {
	c := d.find(r.PathValue("id"))
	if c == nil {
		return notFound("container")
	}
	d.kill(c, 137)
	if d.halfway {
		d.halfway, c.Dead = false, true
		return 500, map[string]any{"message": "failed to remove root filesystem: directory not empty"}
	}
	delete(d.containers, c.Name)
	d.log = append(d.log, "remove "+c.Name)
	d.tell("destroy", c)
	return 204, nil
}

func (d *dockerd) listVolumes(_ http.ResponseWriter, r *http.Request) (int, any) {
	list := []any{}
	for name, labels := range d.volumes {
		if carries(labels, wantedLabels(r)) {
			list = append(list, map[string]any{"Name": name, "Labels": labels})
		}
	}
	return 200, map[string]any{"Volumes": list}
}

func (d *dockerd) createVolume(_ http.ResponseWriter, r *http.Request) (int, any) {
	var body struct {
		Name   string
		Labels map[string]string
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	if _, ok := d.volumes[body.Name]; !ok {
		d.volumes[body.Name] = body.Labels
	}
	return 201, map[string]any{"Name": body.Name, "Labels": d.volumes[body.Name]}
}

func (d *dockerd) inspectVolume(_ http.ResponseWriter, r *http.Request) (int, any) {
	labels, ok := d.volumes[r.PathValue("name")]
	if !ok {
		return notFound("volume")
	}
	return 200, map[string]any{"Name": r.PathValue("name"), "Labels": labels}
}

func (d *dockerd) removeVolume(_ http.ResponseWriter, r *http.Request) (int, any) {
	name := r.PathValue("name")
	if _, ok := d.containers[name]; ok {
		return 409, map[string]string{"message": "volume is in use"}
	}
	delete(d.volumes, name)
	d.log = append(d.log, "remove volume "+name)
	return 204, nil
}

func (d *dockerd) inspectImage(_ http.ResponseWriter, r *http.Request) (int, any) {
	if !d.images[r.PathValue("name")] {
		return notFound("image")
	}
	return 200, map[string]string{"Id": "sha256:1"}
}

func (d *dockerd) pullImage(http.ResponseWriter, *http.Request) (int, any) {
	return 404, map[string]string{"message": "pull access denied"}
}

func (d *dockerd) events(w http.ResponseWriter, r *http.Request) {
	d.awaitThaw(r)
	stream := make(chan map[string]any, 1000)
	d.mu.Lock()
	if d.down {
		d.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	d.streams[stream] = wantedLabels(r)
	d.mu.Unlock()
	w.WriteHeader(200)
	flush := http.NewResponseController(w)
	_ = flush.Flush()
	for {
		select {
		case <-r.Context().Done():
			d.mu.Lock()
			delete(d.streams, stream)
			d.mu.Unlock()
			return
		case e, ok := <-stream:
			if !ok {
				panic(http.ErrAbortHandler)
			}
			d.awaitThaw(r)
			_ = json.NewEncoder(w).Encode(e)
			_ = flush.Flush()
		}
	}
}

// tell sends an event. Call it under mu.
func (d *dockerd) tell(action string, c *fakeContainer) {
	attributes := maps.Clone(c.Labels)
	attributes["exitCode"] = fmt.Sprint(c.ExitCode)
	for stream, wanted := range d.streams {
		if carries(c.Labels, wanted) {
			stream <- map[string]any{
				"Type": "container", "Action": action, "timeNano": d.now().UnixNano(),
				"Actor": map[string]any{"ID": c.ID, "Attributes": attributes},
			}
		}
	}
}

func (d *dockerd) kill(c *fakeContainer, exitCode int) {
	if !c.Running {
		return
	}
	c.Running, c.DiedAt, c.ExitCode = false, d.now(), exitCode
	d.log = append(d.log, "die "+c.Name)
	d.tell("die", c)
}

// Kill ends a container's process, as a crash does.
func (d *dockerd) Kill(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kill(d.containers[name], 137)
}

// breakStreams ends every event stream. Call it without mu.
func (d *dockerd) breakStreams() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for stream := range d.streams {
		close(stream)
	}
	clear(d.streams)
}

// Stop makes the engine not answer; Start makes it answer again. Containers
// that are named die meanwhile, which no event tells.
func (d *dockerd) Stop(dying ...string) {
	d.mu.Lock()
	d.down = true
	d.mu.Unlock()
	d.breakStreams()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range dying {
		d.kill(d.containers[name], 137)
	}
}

func (d *dockerd) Start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = false
}

// Hang makes the engine take requests and answer none, nor tell of events,
// until Thaw. Containers live and die meanwhile.
func (d *dockerd) Hang() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hung = make(chan struct{})
}

// Thaw ends what Hang began. What came meanwhile is done.
func (d *dockerd) Thaw() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.hung)
	d.hung = nil
}

// awaitThaw holds a request up while the engine hangs. Call it without mu.
func (d *dockerd) awaitThaw(r *http.Request) {
	d.mu.Lock()
	hung := d.hung
	d.mu.Unlock()
	if hung == nil {
		return
	}
	select {
	case <-hung:
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

// get returns a copy of a container.
func (d *dockerd) get(name string) (fakeContainer, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.containers[name]
	if !ok {
		return fakeContainer{}, false
	}
	copied := *c
	copied.Files = maps.Clone(c.Files)
	return copied, true
}

// put adds a container and a volume that somebody else made.
func (d *dockerd) put(name string, running bool, labels map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nextID++
	c := &fakeContainer{
		ID: fmt.Sprintf("id%d", d.nextID), Name: name, Labels: labels, Running: running, Files: map[string]string{},
		Host: map[string]any{"PortBindings": map[string]any{"5432/tcp": []any{map[string]string{
			"HostIp": "127.0.0.1", "HostPort": cmp.Or(labels["pgpatron.port.5432"], "20000"),
		}}}},
	}
	if running {
		c.StartedAt = d.now()
	}
	d.containers[name] = c
	d.volumes[name] = labels
}

// volume returns a volume's labels.
func (d *dockerd) volume(name string) (map[string]string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	labels, ok := d.volumes[name]
	return labels, ok
}

// history returns what was done, in order.
func (d *dockerd) history() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.log...)
}

// now is the time by the host's clock. Call it under mu.
func (d *dockerd) now() time.Time { return time.Now().Add(d.jump) }

// failHalfway has the next removal of a container end halfway.
func (d *dockerd) failHalfway() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.halfway = true
}

// setClock sets the host's clock ahead, or back, of what it was at first.
func (d *dockerd) setClock(jump time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.jump = jump
}
