package watchdog

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A silence has two reasons that look alike from outside: who is asked hangs, or waits for
// a processor on a host that has too much to do. The kernel tells them apart: it counts how
// long each thread was ready to run and did not (run_delay, the second number of
// /proc/<pid>/task/<tid>/schedstat). What is stopped, or waits for a disk or a lock, was not ready.

const (
	// suspicious is how long a silence lasts before its reason is looked into.
	suspicious = time.Second
	// starvedShare is the share of a silence, as 1/n, for which the busiest thread has to
	// have waited for a processor.
	starvedShare = 2
)

// waits is how long each thread, by its id, has waited for a processor in its life.
type waits map[int]time.Duration

// grown returns the longest time that a thread has waited since then.
func (w waits) grown(since waits) (longest time.Duration) {
	for thread, waited := range w {
		if before, ok := since[thread]; ok {
			longest = max(longest, waited-before)
		}
	}
	return longest
}

// suspicion is a silence whose reason is looked into.
type suspicion struct {
	// heard is the silence's last answer: another is another silence.
	heard time.Time
	began time.Time
	waits waits
}

// starved reports whether who is silent has waited for a processor most of the time since
// the suspicion began. What can not be read is no excuse.
func (s *suspicion) starved(now time.Time, last silence, read func() (waits, error)) bool {
	if !last.longer(now, suspicious) {
		*s = suspicion{}
		return false
	}
	seen, err := read()
	if err != nil {
		return false
	}
	if !s.heard.Equal(last.heard) {
		*s = suspicion{heard: last.heard, began: now, waits: seen}
		return false
	}
	passed := now.Sub(s.began)
	return passed > 0 && seen.grown(s.waits) >= passed/starvedShare
}

// readWaits returns the waits of a container's server, or those of all else in it. pid is
// the container's first process, in whose control group its id has to be: a registrar may
// see other processes than its engine.
func readWaits(pid int, id string, server bool) (waits, error) {
	groups, err := os.ReadFile(process(pid, "cgroup"))
	if err != nil {
		return nil, err
	}
	if id == "" || !strings.Contains(string(groups), id) {
		return nil, fmt.Errorf("process %d is not one of container %s", pid, id)
	}
	found := waits{}
	found.add(pid, false, server)
	return found, nil
}

// add adds the threads of a process and of all that it has started, of those that belong to
// the server, or of the others. Who ends meanwhile is left out.
func (w waits) add(pid int, inServer, wanted bool) {
	comm, err := os.ReadFile(process(pid, "comm"))
	if err != nil {
		return
	}
	inServer = inServer || strings.TrimSpace(string(comm)) == "postgres"
	threads, _ := filepath.Glob(process(pid, "task/[0-9]*"))
	for _, thread := range threads {
		if inServer == wanted {
			w.addThread(thread)
		}
		children, _ := os.ReadFile(thread + "/children")
		for _, child := range strings.Fields(string(children)) {
			if pid, err := strconv.Atoi(child); err == nil {
				w.add(pid, inServer, wanted)
			}
		}
	}
}

func (w waits) addThread(thread string) {
	stat, _ := os.ReadFile(thread + "/schedstat")
	id, err := strconv.Atoi(filepath.Base(thread))
	fields := strings.Fields(string(stat))
	if err != nil || len(fields) < 2 {
		return
	}
	if nanoseconds, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
		w[id] = time.Duration(nanoseconds)
	}
}

func process(pid int, file string) string { return fmt.Sprintf("/proc/%d/%s", pid, file) }
