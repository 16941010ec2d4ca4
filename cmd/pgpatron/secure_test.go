package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// secured is a site whose etcd has three members, TLS, and a user for each
// process.
type secured struct {
	testing.TB
	dir   string
	flags []string
}

func newSecured(t testing.TB) secured {
	t.Helper()
	files := fixtures.PKI(t)
	cluster := fixtures.NewEtcdClusterTLS(t, "127.0.0.1", files)
	return secure(t, "--etcd="+strings.Join(cluster.Endpoints(), ","), "--etcd-ca="+files.CA, "--etcd-cert="+files.Cert, "--etcd-key="+files.Key)
}

// secure makes the users of the etcd that flags lead to.
func secure(t testing.TB, flags ...string) secured {
	t.Helper()
	s := secured{TB: t, dir: t.TempDir(), flags: flags}
	var out bytes.Buffer
	if err := run(t.Context(), append([]string{"init", "etcd", "--dir", s.dir}, s.flags...), &out, &out); err != nil {
		t.Fatal(err)
	}
	return s
}

// password returns what init etcd has kept for a user.
func (s secured) password(name, variable string) string {
	s.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "etcd-"+name+".env"))
	if err != nil {
		s.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), variable+"=")
	if !ok {
		s.Fatalf("etcd-%s.env does not say %s", name, variable)
	}
	return strings.TrimSpace(rest)
}

// as returns the flags of a process that logs in.
func (s secured) as(name string, more ...string) []string {
	args := append([]string{name}, s.flags...)
	return append(append(args, "--etcd-username="+name, "--etcd-password="+s.password(name, "PGPATRON_ETCD_PASSWORD")), more...)
}

// manager plays systemd: it takes what processes tell it.
type manager struct {
	mu   sync.Mutex
	said []string
}

func newManager(t *testing.T) *manager {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	m := &manager{}
	go func() {
		buf := make([]byte, 1024)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.said = append(m.said, string(buf[:n]))
			m.mu.Unlock()
		}
	}()
	return m
}

func (m *manager) heard(state string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.said {
		if s == state {
			return true
		}
	}
	return false
}

// await polls until the condition holds, or fails with what out holds.
func await(t *testing.T, what string, out *bytes.Buffer, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(fixtures.Patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: does not happen; the process said:\n%s", what, out)
		}
	}
}

// begin runs a process until the returned function is called, which wants it to
// end well.
func begin(t *testing.T, args []string) (out *bytes.Buffer, end func()) {
	t.Helper()
	out = &bytes.Buffer{}
	locked := &lockedWriter{w: out}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, args, locked, locked) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("pgpatron %s: %v", args[0], err)
		}
	})
	t.Cleanup(end)
	return out, end
}

type lockedWriter struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// Each process works as its own user of an etcd that asks for certificates and
// logins, and tells systemd how far it is.
func TestProcessesAsUsersOfASecuredEtcd(t *testing.T) {
	s := newSecured(t)
	authority := fixtures.NewAuthority(t)
	cert, key := authority.Issue(t, "dc-1")
	for _, args := range [][]string{
		s.as("federation", "--dc=dc-1", "--cert="+cert, "--key="+key, "--ca="+authority.CA(), "--listen="+fixtures.FreeAddrs(t, "127.0.0.1", 1)[0], "--metrics=127.0.0.1:0"),
		s.as("broker", "--password=x", "--listen=127.0.0.1:0", "--seal-key-file="+filepath.Join(s.dir, "seal.key")),
		s.as("router", "--metrics=127.0.0.1:0", "--ports=31000-31009"),
	} {
		t.Run(args[0], func(t *testing.T) {
			m := newManager(t)
			t.Setenv("WATCHDOG_USEC", "200000")
			out, end := begin(t, args)
			await(t, "ready", out, func() bool { return m.heard("READY=1") })
			await(t, "watchdog", out, func() bool { return m.heard("WATCHDOG=1") })
			end()
			await(t, "stopping", out, func() bool { return m.heard("STOPPING=1") })
			if strings.Contains(out.String(), "permission denied") {
				t.Errorf("lacks a right:\n%s", out)
			}
		})
	}
}

// A registrar whose Docker is away still says, as its own user, that it is here.
func TestRegistrarAsUserOfASecuredEtcd(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	out, end := begin(t, s.as("registrar", "--backend=127.0.0.1", "--listen=127.0.0.1:0", "--docker-host=unix:///nonexistent.sock"))
	files := state.Access{Username: "registrar", Password: state.Secret(s.password("registrar", "PGPATRON_ETCD_PASSWORD"))}
	for flag, into := range map[string]*string{"--etcd-ca=": &files.CAFile, "--etcd-cert=": &files.CertFile, "--etcd-key=": &files.KeyFile} {
		for _, f := range s.flags {
			if value, ok := strings.CutPrefix(f, flag); ok {
				*into = value
			}
		}
	}
	files.Endpoints = strings.Split(strings.TrimPrefix(s.flags[0], "--etcd="), ",")
	client, err := files.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	await(t, "the backend's entry", out, func() bool {
		resp, err := client.Get(t.Context(), state.BackendKey("127.0.0.1"))
		return err == nil && len(resp.Kvs) == 1
	})
	end()
	if strings.Contains(out.String(), "permission denied") {
		t.Errorf("lacks a right:\n%s", out)
	}
}

func TestWrongEtcdPasswordIsToldInWords(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	args := append(s.as("router", "--metrics=127.0.0.1:0"), "--etcd-password=guessed")
	got := fail(t, args...)
	wantSays(t, got, "does not let user router in", "etcd_password")
	if strings.Contains(got, "guessed") {
		t.Errorf("the error holds the password: %s", got)
	}
}
