package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// desk is an operator's: a broker that he can end and start again, and its etcd.
type desk struct {
	t      *testing.T
	etcd   *clientv3.Client
	broker []string
	// ask are the flags by which commands reach the broker.
	ask []string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	server := fixtures.EtcdServer(t)
	listen := fixtures.FreeAddrs(t, "127.0.0.1", 1)[0]
	return &desk{
		t: t, etcd: server.Client(),
		broker: []string{"broker", "--etcd=" + server.Endpoints()[0], "--listen=" + listen, "--password=secret",
			"--admin-username=admin", "--admin-password=ops", "--seal-key-file=" + filepath.Join(t.TempDir(), "seal")},
		ask: []string{"--broker=http://" + listen, "--admin-password=ops"},
	}
}

// open starts the broker and waits until it answers.
func (d *desk) open() (end func()) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(d.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, d.broker, io.Discard, d.t.Output()) }()
	for limit := time.Now().Add(fixtures.Patience); ; time.Sleep(10 * time.Millisecond) {
		if run(ctx, d.args("routers", "list"), io.Discard, io.Discard) == nil {
			break
		}
		if time.Now().After(limit) {
			d.t.Fatal("the broker does not answer")
		}
	}
	return func() {
		d.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			d.t.Errorf("broker: %v", err)
		}
	}
}

func (d *desk) args(command ...string) []string { return append(command, d.ask...) }

// lines runs a command that goes on, and returns what it writes, line by line,
// until the test ends.
func (d *desk) lines(out, in *os.File, command ...string) <-chan string {
	ctx, cancel := context.WithCancel(d.t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, d.args(command...), in, d.t.Output())
		in.Close()
	}()
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	d.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			d.t.Errorf("%s: %v", command[0], err)
		}
	})
	return lines
}

func pipe(t *testing.T) (out, in *os.File) {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	return out, in
}

// until reads lines until one is as wanted.
func until(t *testing.T, lines <-chan string, wanted string) string {
	t.Helper()
	limit := time.After(fixtures.Patience)
	for {
		select {
		case line, open := <-lines:
			if !open {
				t.Fatalf("it ended before it said %q", wanted)
			}
			if strings.Contains(line, wanted) {
				return line
			}
		case <-limit:
			t.Fatalf("it does not say %q", wanted)
		}
	}
}

func (d *desk) put(key, value string) {
	d.t.Helper()
	if _, err := d.etcd.Put(d.t.Context(), key, value); err != nil {
		d.t.Fatal(err)
	}
}

// TestEventsAreFollowedOverABroker: each event is written once, also when the
// broker ends and another begins.
func TestEventsAreFollowedOverABroker(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	end := d.open()
	out, in := pipe(t)
	lines := d.lines(out, in, "events", "-f", "-o", "json")
	throw := func(n int) { d.put(state.CordonKey(fmt.Sprintf("h%d", n)), "DISABLED") }
	var told []string
	hear := func(n int) {
		t.Helper()
		line := until(t, lines, `"kind":"switch"`)
		var e state.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		told = append(told, e.Text)
		if want := fmt.Sprintf("backend h%d disabled", n); e.Text != want {
			t.Fatalf("%s is told after %v, want %s", e.Text, told[:n-1], want)
		}
	}
	throw(1)
	hear(1)
	throw(2)
	hear(2)
	end()
	throw(3)
	end = d.open()
	defer end()
	hear(3)
	throw(4)
	hear(4)
}

// TestTopOnATerminal: the table is written over in place, and no line is longer
// than the terminal is wide.
func TestTopOnATerminal(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	terminal, program := openTerminal(t, 40, 10)
	for n := range 30 {
		d.put(state.ClusterKey(fmt.Sprintf("an-instance-with-a-long-name-%02d", n)), fmt.Sprintf(`{"instance_id":"an-instance-with-a-long-name-%02d"}`, n))
	}
	defer d.open()()
	lines := d.lines(terminal, program, "top")
	first := until(t, lines, "clusters 30, without a leader 30, rout")
	if !strings.HasPrefix(first, clearAll+goHome) {
		t.Errorf("the first picture begins with %q", first)
	}
	for range 8 {
		line := strings.TrimRight(<-lines, "\r")
		if text, cleared := strings.CutSuffix(line, clearLine); !cleared || len(text) > 40 {
			t.Errorf("got the line %q", line)
		}
	}
	d.put(state.LeaderKey("an-instance-with-a-long-name-07"), "n1")
	next := until(t, lines, "clusters 30, without a leader 29")
	if !strings.HasPrefix(next, clearBelow+goHome) || strings.Contains(next, clearAll) {
		t.Errorf("the second picture begins with %q", next)
	}
}

// openTerminal returns both ends of a terminal of that size.
func openTerminal(t *testing.T, columns, rows uint16) (terminal, program *os.File) {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	t.Cleanup(func() { terminal.Close() })
	fd := int(terminal.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}); err != nil {
		t.Fatal(err)
	}
	if program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return terminal, program
}

// TestTopWithoutATerminal: pictures follow each other, with nothing that only a
// terminal understands.
func TestTopWithoutATerminal(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	defer d.open()()
	out, in := pipe(t)
	lines := d.lines(out, in, "top", "--limit=0")
	until(t, lines, "clusters 0, without a leader 0")
	d.put(state.ClusterKey("a"), `{"instance_id":"a"}`)
	if line := until(t, lines, "clusters 1, without a leader 1"); strings.Contains(line, "\x1b") {
		t.Errorf("got %q", line)
	}
	until(t, lines, "a ")
}

// TestFollowingNobody: who is not there, or lets nobody in, is not asked again
// and again.
func TestFollowingNobody(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent.Close()
	d := newDesk(t)
	defer d.open()()
	for _, command := range []string{"events --follow", "top"} {
		args := strings.Fields(command)
		wantSays(t, fail(t, append(args, "--broker=http://"+silent.Addr().String(), "--admin-password=ops")...), "asking the broker", "connection refused")
		wantSays(t, fail(t, append(args, d.ask[0], "--admin-password=wrong")...), "wrong username or password")
	}
}

// TestMistakesOfOperators are told before anything is done.
func TestMistakesOfOperators(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	defer d.open()()
	for command, want := range map[string]string{
		"events --kind=weather":                 "kind: must be failover, fence, switch or operation",
		"events --follow --kind=weather":        "kind: must be failover, fence, switch or operation",
		"events --last=-1":                      "last: must not be negative",
		"events --output=xml":                   "output: must be table or json",
		"top --limit=-1":                        "limit: must not be negative",
		"routers disable":                       "accepts 1 arg(s), received 0",
		"routers enable a b":                    "accepts 1 arg(s), received 2",
		"routers disable 10.0.0.5@-@1":          "'10.0.0.5@-@1' does not exist",
		"routers disable a --allow-last":        "unknown flag: --allow-last",
		"replicas disable a.b --force":          "unknown flag: --force",
		"replicas disable a.b --reason=a\nb":    "reason: must be one line of UTF-8",
		"replicas disable ../../x --allow-last": "'../../x' does not exist",
		"backends disable 10.0.0.9":             `backend "10.0.0.9" does not exist`,
	} {
		wantSays(t, fail(t, d.args(strings.Split(command, " ")...)...), want)
	}
}
