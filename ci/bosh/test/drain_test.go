package release_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// host is a rendered instance whose other programs are played: each writes down
// what it was asked.
type host struct {
	t    *testing.T
	root string
	// asked is the file in which they write.
	asked string
}

func newHost(t *testing.T, dir, instance string) host {
	h := host{t, filepath.Join(dir, instance, "var/vcap"), filepath.Join(t.TempDir(), "asked")}
	for _, folder := range []string{"sys/log/pgpatron-registrar", "packages/pgpatron/bin", "packages/docker/bin", "jobs/bpm/bin"} {
		if err := os.MkdirAll(filepath.Join(h.root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// play puts a program in place that writes down what it is asked, and then does
// what body says.
func (h host) play(path, body string) {
	h.t.Helper()
	script := fmt.Sprintf("#!/bin/bash\necho \"$(basename \"$0\") $*\" >>%s\n%s\n", h.asked, body)
	if err := os.WriteFile(filepath.Join(h.root, path), []byte(script), 0o755); err != nil {
		h.t.Fatal(err)
	}
}

// process is one that a drain script should end. bpm knows it.
func (h host) process(job string) *exec.Cmd {
	h.t.Helper()
	cmd := exec.Command("bash", "-c", `trap 'echo "process ended" >>"$0"; exit 0' TERM; echo begun; while read -t 1 <> <(:) || true; do :; done`, h.asked)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = cmd.Process.Kill() })
	if _, err := out.Read(make([]byte, 6)); err != nil {
		h.t.Fatal(err)
	}
	h.play("jobs/bpm/bin/bpm", fmt.Sprintf(`[ "$*" = "pid %s" ] && echo %d`, job, cmd.Process.Pid))
	return cmd
}

// drain runs the drain script of a job while its process ends, and returns what
// was asked meanwhile, in order. BOSH reads how long it is to wait: not at all.
func (h host) drain(job string, process *exec.Cmd) []string {
	h.t.Helper()
	ended := make(chan struct{})
	go func() { _ = process.Wait(); close(ended) }()
	out, err := exec.CommandContext(h.t.Context(), filepath.Join(h.root, "jobs", job, "bin/drain")).Output()
	if err != nil || strings.TrimSpace(string(out)) != "0" {
		h.t.Errorf("drain said %q (%v), want 0", out, err)
	}
	<-ended
	asked, err := os.ReadFile(h.asked)
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(asked)), "\n")
}

// A router ends by itself before its VM goes, and is waited for.
func TestRouterDrains(t *testing.T) {
	h := newHost(t, renderWith(t), "router-0")
	asked := h.drain("pgpatron-router", h.process("pgpatron-router"))
	if want := []string{"bpm pid pgpatron-router", "process ended"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

// A backend gets no new nodes, then nobody is left to start containers again, then
// each is stopped by itself, so that Patroni hands a leadership over.
func TestRegistrarDrains(t *testing.T) {
	h := newHost(t, renderWith(t), "backend-0")
	h.play("packages/pgpatron/bin/pgpatron", "")
	h.play("packages/docker/bin/docker", `if [ "$1" = ps ]; then echo one; echo two; fi`)
	asked := h.drain("pgpatron-registrar", h.process("pgpatron-registrar"))
	slices.Sort(asked[4:]) // both are stopped at once
	ip := configured(t, filepath.Dir(filepath.Dir(filepath.Dir(h.root))), "registrar")["backend"]
	want := []string{
		fmt.Sprintf("pgpatron backends cordon %v", ip),
		"bpm pid pgpatron-registrar",
		"process ended",
		fmt.Sprintf("docker ps --quiet --filter label=pgpatron.backend=%v", ip),
		"docker stop --time 60 one",
		"docker stop --time 60 two",
	}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

// A host whose broker does not answer, or that has no engine any more, goes all the same.
func TestRegistrarDrainsAlone(t *testing.T) {
	h := newHost(t, renderWith(t), "backend-0")
	h.play("packages/pgpatron/bin/pgpatron", "exit 1")
	h.play("packages/docker/bin/docker", "exit 1")
	asked := h.drain("pgpatron-registrar", h.process("pgpatron-registrar"))
	if !slices.Contains(asked, "process ended") {
		t.Errorf("asked %q, and the registrar goes on", asked)
	}
}
