package patroni_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// A node collects every child of its process, so the tests run it in one of its
// own: this test binary, told by the environment where etcd is.
const (
	etcdVariable = "PGPATRON_TEST_NODE_ETCD"
	runVariable  = "PGPATRON_TEST_NODE_RUN"
)

func TestMain(m *testing.M) {
	if endpoint := os.Getenv(etcdVariable); endpoint != "" {
		os.Exit(nodeMain(endpoint, os.Getenv(runVariable)))
	}
	os.Exit(m.Run())
}

// nodeMain is the node's process: cmd/patroni-node with a script for Patroni.
func nodeMain(endpoint, run string) int {
	const setChildSubreaper = 36 // PR_SET_CHILD_SUBREAPER: orphans come here, as to PID 1
	syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	etcd, err := state.Dial([]string{endpoint})
	if err != nil {
		return 99
	}
	defer etcd.Close()
	node := patroni.Node{
		Config:        testNode(),
		Etcd:          etcd,
		Command:       []string{"sh", "testdata/patroni.sh"},
		Paths:         patroni.Paths{Run: run, Data: run + "-data"},
		TLSFile:       run + "-tls.json",
		PasswordsFile: run + "-passwords.json",
		Signals:       signals,
		Log:           slog.New(slog.NewTextHandler(os.Stdout, nil)),
	}
	err = node.Run(ctx)
	if exit, ok := errors.AsType[*patroni.ExitError](err); ok {
		return exit.Code
	}
	if err != nil {
		return 98
	}
	return 0
}

// nodeProcess is a running node as its test sees it.
type nodeProcess struct {
	*exec.Cmd
	run   string
	lines chan string
}

func startNode(t *testing.T, etcd *clientv3.Client) *nodeProcess {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &nodeProcess{Cmd: exec.Command(self), run: filepath.Join(t.TempDir(), "run"), lines: make(chan string, 1000)}
	p.Env = append(os.Environ(), etcdVariable+"="+etcd.Endpoints()[0], runVariable+"="+p.run)
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			p.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() { p.Process.Kill() })
	return p
}

// await returns the next line that holds all of these.
func (p *nodeProcess) await(t *testing.T, parts ...string) string {
	t.Helper()
	deadline := time.After(fixtures.Patience)
	var seen []string
	for {
		select {
		case line, open := <-p.lines:
			seen = append(seen, line)
			if !open {
				t.Fatalf("node ended without a line with %q:\n%s", parts, strings.Join(seen, "\n"))
			}
			if containsAll(line, parts) {
				return line
			}
		case <-deadline:
			t.Fatalf("no line with %q:\n%s", parts, strings.Join(seen, "\n"))
		}
	}
}

func containsAll(line string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(line, part) {
			return false
		}
	}
	return true
}

func (p *nodeProcess) send(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// wantExit waits for the end and compares the exit status.
func (p *nodeProcess) wantExit(t *testing.T, want int) {
	t.Helper()
	for range p.lines {
	}
	p.Wait()
	if got := p.ProcessState.ExitCode(); got != want {
		t.Errorf("node ended with status %d, want %d", got, want)
	}
}

func announce(t *testing.T, etcd *clientv3.Client, port int, addr string) {
	t.Helper()
	node := testNode()
	put(t, etcd, state.AnnouncementKey(node.Image, node.Hostname, node.Container, port), addr)
}

func TestNode(t *testing.T) {
	t.Parallel()
	etcd := fixtures.Etcd(t)
	p := startNode(t, etcd)
	node := testNode()
	p.await(t, "waiting for address to be announced", state.AnnouncementKey(node.Image, node.Hostname, node.Container, 5432))
	p.await(t, "waiting for address to be announced", state.AnnouncementKey(node.Image, node.Hostname, node.Container, 8008))
	announce(t, etcd, 5432, "172.17.0.1:20000")
	// What is not an address is as good as nothing.
	announce(t, etcd, 8008, "later")
	p.await(t, "value can not be read")
	announce(t, etcd, 8008, "172.17.0.1:20001")
	line := p.await(t, "started "+p.run+"/patroni.yml 172.17.0.1:20000")

	var file string
	var orphan int
	if _, err := fmt.Sscanf(line, "started %s 172.17.0.1:20000 orphan %d", &file, &orphan); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	wantPrivate(t, file)
	wantGone(t, orphan)

	announce(t, etcd, 5432, "172.17.0.1:20002")
	p.await(t, "HUP 172.17.0.1:20002")
	wantPrivate(t, file)
	p.send(t, syscall.SIGHUP)
	p.await(t, "HUP 172.17.0.1:20002")
	p.send(t, syscall.SIGTERM)
	p.await(t, "TERM")
	p.wantExit(t, 0)
}

// A node takes what it is given for TLS at its start, and anew at SIGHUP.
func TestNodeReadsItsCertificateAgain(t *testing.T) {
	t.Parallel()
	etcd := fixtures.Etcd(t)
	p := startNode(t, etcd)
	give := func(certificate string) {
		t.Helper()
		content, err := patroni.ServerTLS{Certificate: certificate, PrivateKey: "key of " + state.Secret(certificate)}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p.run+"-tls.json", content, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	shows := func(certificate string) {
		t.Helper()
		file := filepath.Join(p.run, "server.pem")
		wantPrivate(t, file)
		server, errServer := os.ReadFile(file)
		config, errConfig := os.ReadFile(filepath.Join(p.run, "patroni.yml"))
		if err := errors.Join(errServer, errConfig); err != nil {
			t.Fatal(err)
		}
		if got, want := string(server), certificate+"\nkey of "+certificate; got != want {
			t.Errorf("PostgreSQL is given %q, want %q", got, want)
		}
		if tag := patroni.CertificateTag(certificate); !strings.Contains(string(config), tag) {
			t.Errorf("patroni.yml does not name the certificate %s:\n%s", tag, config)
		}
	}
	give("first")
	announce(t, etcd, 5432, "172.17.0.1:20000")
	announce(t, etcd, 8008, "172.17.0.1:20001")
	p.await(t, "started")
	shows("first")
	if err := os.Remove(p.run + "-tls.json"); err != nil {
		t.Fatal(err)
	}
	give("second")
	p.send(t, syscall.SIGHUP)
	p.await(t, "HUP 172.17.0.1:20000")
	shows("second")
	p.send(t, syscall.SIGTERM)
	p.wantExit(t, 0)
}

// wantPrivate checks that only its owner may read a file.
func wantPrivate(t *testing.T, file string) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("%s has mode %v", file, info.Mode())
	}
}

// wantGone waits until a process has ended and was collected.
func wantGone(t *testing.T, pid int) {
	t.Helper()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for range 500 {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			return
		}
		<-poll.C
	}
	t.Errorf("orphan %d is still there, or a zombie", pid)
}

func TestNodeEndsAsPatroniEnds(t *testing.T) {
	t.Parallel()
	etcd := fixtures.Etcd(t)
	announce(t, etcd, 5432, "172.17.0.1:20000")
	announce(t, etcd, 8008, "172.17.0.1:20001")
	for s, want := range map[syscall.Signal]int{syscall.SIGUSR1: 7, syscall.SIGUSR2: 128 + int(syscall.SIGKILL)} {
		t.Run(s.String(), func(t *testing.T) {
			p := startNode(t, etcd)
			p.await(t, "started")
			p.send(t, s)
			p.wantExit(t, want)
		})
	}
}

// A server that was killed is told to Patroni at once; one that was stopped has removed its
// lock file.
func TestNodeHearsOfACrash(t *testing.T) {
	t.Parallel()
	etcd := fixtures.Etcd(t)
	announce(t, etcd, 5432, "172.17.0.1:20000")
	announce(t, etcd, 8008, "172.17.0.1:20001")
	p := startNode(t, etcd)
	if err := os.Mkdir(p.run+"-data", 0o700); err != nil {
		t.Fatal(err)
	}
	p.await(t, "started")
	p.await(t, "PostgreSQL ended without a clean stop")
	p.send(t, syscall.SIGTERM)
	p.wantExit(t, 0)

	data := t.TempDir()
	lock := filepath.Join(data, "postmaster.pid")
	for content, want := range map[string]bool{fmt.Sprintf("%d\n/data\n", os.Getpid()): false, "4194304\n/data\n": true, "": false, "-1": false} {
		if err := os.WriteFile(lock, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := patroni.Crashed(data); got != want {
			t.Errorf("with the lock file %q: crashed %t, want %t", content, got, want)
		}
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	if patroni.Crashed(data) {
		t.Error("without a lock file: crashed")
	}
}

func TestNodeStopsWhileItWaits(t *testing.T) {
	t.Parallel()
	p := startNode(t, fixtures.Etcd(t))
	p.await(t, "waiting for address to be announced")
	p.send(t, syscall.SIGTERM)
	p.wantExit(t, 0)
	if _, err := os.Stat(p.run); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a node that never started wrote its configuration: %v", err)
	}
}
