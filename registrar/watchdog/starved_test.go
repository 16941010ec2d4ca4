package watchdog

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgpatron/pgpatron/fixtures"
)

// busy starts processes that want the first of our processors all the time, and returns the last.
func busy(t *testing.T, times int) (last *os.Process) {
	t.Helper()
	var ours, first unix.CPUSet
	if err := unix.SchedGetaffinity(0, &ours); err != nil {
		t.Fatal(err)
	}
	for cpu := range 8192 {
		if ours.IsSet(cpu) {
			first.Set(cpu)
			break
		}
	}
	for range times {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", "while :; do :; done")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Wait() }) // killed by the context's end
		if err := unix.SchedSetaffinity(cmd.Process.Pid, &first); err != nil {
			t.Fatal(err)
		}
		last = cmd.Process
	}
	return last
}

// groupOf returns what stands for a container's id in our own control group.
func groupOf(t *testing.T) string {
	t.Helper()
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(groups))
}

func requireSchedstat(t *testing.T) {
	t.Helper()
	if stat, err := os.ReadFile("/proc/self/schedstat"); err != nil || strings.HasPrefix(string(stat), "0 0 ") {
		t.Skip("this kernel does not count how long threads wait for a processor")
	}
}

// Four want one processor: each waits three quarters of the time. One of them that is
// stopped is as silent, and waits for nothing.
func TestWaitingIsToldFromHanging(t *testing.T) {
	t.Parallel()
	requireSchedstat(t)
	group, victim := groupOf(t), busy(t, 4)
	read := func() (waits, error) { return readWaits(victim.Pid, group, false) }
	silent := silence{heard: time.Now()}
	starves := func(s *suspicion) bool {
		time.Sleep(50 * time.Millisecond)
		return s.starved(time.Now(), silent, read)
	}
	var waiting suspicion
	for deadline := time.Now().Add(fixtures.Patience); !starves(&waiting); {
		if time.Now().After(deadline) {
			t.Fatal("who waits for a processor is not seen to")
		}
	}
	if err := victim.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	silent.heard = time.Now().Add(-suspicious - time.Second)
	var hanging suspicion
	for range 20 {
		if starves(&hanging) {
			t.Fatal("who is stopped is said to wait for a processor")
		}
	}
}

// The answer ends a silence, and the next one is looked into from its own beginning.
func TestEachSilenceHasItsOwnReason(t *testing.T) {
	t.Parallel()
	var s suspicion
	waited := time.Duration(0)
	read := func() (waits, error) { return waits{1: waited}, nil }
	now := time.Unix(1000, 0)
	after := func(d, grown time.Duration, last silence) bool {
		now, waited = now.Add(d), waited+grown
		return s.starved(now, last, read)
	}
	first := silence{heard: now}
	if after(2*time.Second, 0, first) || !after(time.Second, time.Second, first) {
		t.Error("the first silence is starvation")
	}
	second := silence{heard: now}
	if after(100*time.Millisecond, 100*time.Millisecond, second) {
		t.Error("what is shorter is no silence")
	}
	if after(2*time.Second, 2*time.Second, second) || after(time.Second, time.Second/4, second) {
		t.Error("the second silence is none, whatever the first was")
	}
}

// The server's processes are told from what else runs in the container.
func TestServerIsToldFromTheRest(t *testing.T) {
	t.Parallel()
	requireSchedstat(t)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	server := filepath.Join(t.TempDir(), "postgres")
	if err := os.WriteFile(server, program, 0o700); err != nil {
		t.Fatal(err)
	}
	first := exec.CommandContext(t.Context(), "sh", "-c", `"$0" infinity & wait`, server)
	first.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	first.Cancel = func() error { return syscall.Kill(-first.Process.Pid, syscall.SIGKILL) }
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = first.Wait() })
	group := groupOf(t)
	var rest, servers waits
	for deadline := time.Now().Add(fixtures.Patience); len(servers) != 1; time.Sleep(10 * time.Millisecond) {
		if servers, err = readWaits(first.Process.Pid, group, true); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("threads of the server: %v", servers)
		}
	}
	if rest, err = readWaits(first.Process.Pid, group, false); err != nil || len(rest) != 1 || rest.grown(servers) != 0 {
		t.Errorf("threads of the rest: %v, %v, beside the server's %v", rest, err, servers)
	}
	if _, err := readWaits(first.Process.Pid, strings.Repeat("f", 64), false); err == nil {
		t.Error("a process of another container is taken for its own")
	}
}
