package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
)

// start runs the program until the test ends, which must be without an error.
func start(t *testing.T, args ...string) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, args, io.Discard, t.Output()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", args[0], err)
		}
	})
}

// fail runs the program, which must end by itself with an error, and returns it.
func fail(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), fixtures.Patience)
	defer cancel()
	var out bytes.Buffer
	err := run(ctx, args, &out, &out)
	if err == nil {
		t.Fatalf("pgpatron %s: ended without an error; it said:\n%s", strings.Join(args, " "), &out)
	}
	return err.Error()
}

func wantSays(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("error does not say %q:\n%s", w, got)
		}
	}
}

func TestNoDocker(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	got := fail(t, "dev", "--docker-host=unix:///nonexistent.sock", "--data-dir="+dir)
	wantSays(t, got, "docker is not reachable at unix:///nonexistent.sock")
	if _, err := os.Stat(dir); err == nil {
		t.Error("the data directory was made for nothing")
	}
}

func TestNoEtcd(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "seal.key")
	for _, args := range [][]string{
		{"broker", "--password=x", "--seal-key-file=" + key},
		{"registrar", "--backend=10.0.0.7"},
		{"router"},
	} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			got := fail(t, append(args, "--etcd=127.0.0.1:1")...)
			wantSays(t, got, "etcd at 127.0.0.1:1 does not answer")
		})
	}
}

// Told to end before it has begun, a process ends without a complaint.
func TestEndWhileStarting(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	var out bytes.Buffer
	if err := run(ctx, []string{"router", "--etcd=127.0.0.1:1"}, &out, &out); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestBusyAddress(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	address := busy.Addr().String()
	etcd := "--etcd=" + fixtures.EtcdServer(t).Endpoints()[0]
	key := "--seal-key-file=" + filepath.Join(t.TempDir(), "seal.key")
	wantSays(t, fail(t, "broker", "--password=x", key, etcd, "--listen="+address), "broker.listen", "already in use", "choose another")
	wantSays(t, fail(t, "router", etcd, "--metrics="+address), "router.metrics", "already in use")
	wantSays(t, fail(t, "registrar", etcd, "--backend=127.0.0.1", "--docker-host=unix:///nonexistent.sock", "--listen="+address), "listen", "already in use")
}

func TestEveryMistakeOfAConfigurationIsTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "broker.yml")
	if err := os.WriteFile(file, []byte("listen: nowhere\nplanz: []\nbind_timeout: -1s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := fail(t, "broker", "--config="+file, "--ports=9-1")
	wantSays(t, got, "listen: want host:port", "planz: no such key", "ports: ")
}

func TestMissingPasswordAndBackend(t *testing.T) {
	etcd := "--etcd=" + fixtures.EtcdServer(t).Endpoints()[0]
	key := "--seal-key-file=" + filepath.Join(t.TempDir(), "seal.key")
	wantSays(t, fail(t, "broker", key, etcd), "broker.password: must be set")
	wantSays(t, fail(t, "registrar", etcd), "registrar.backend: must be")
}

func TestBrokenSealKey(t *testing.T) {
	key := filepath.Join(t.TempDir(), "seal.key")
	if err := os.WriteFile(key, []byte("too short"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := fail(t, "broker", "--password=x", "--seal-key-file="+key)
	wantSays(t, got, key, "64 hexadecimal digits", "openssl rand -hex 32")
}

func TestDataDirectoryOfAnotherVersion(t *testing.T) {
	dir := t.TempDir()
	if err := checkVersion(dir); err != nil {
		t.Fatal(err)
	}
	if err := checkVersion(dir); err != nil {
		t.Errorf("the directory that was just made is refused: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "VERSION"), []byte("pgpatron dev data 99"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := checkVersion(dir)
	if err == nil {
		t.Fatal("a directory of another version was taken")
	}
	wantSays(t, err.Error(), dir, "pgpatron dev data 99", dataDirVersion)
}

func TestStrangersDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := checkVersion(dir)
	if err == nil {
		t.Fatal("a directory with other things in it was taken")
	}
	wantSays(t, err.Error(), dir, "is not empty")
}

func TestPasswordIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	first, err := keptPassword(path)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := keptPassword(path); err != nil || again != first || len(first.Reveal()) < 20 {
		t.Errorf("the password is not the same when read again (%v)", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the password's file is %v (%v)", info.Mode(), err)
	}
}
