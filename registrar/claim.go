package registrar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
)

const (
	// contestInterval is how often a backend that another holds is looked at.
	contestInterval = 500 * time.Millisecond
	// noteInterval is how often it is noted for good that the host is there.
	noteInterval = time.Minute
)

// claim holds the backend's key: one registrar at a time runs a backend.
type claim struct {
	self state.Backend
	ttl  time.Duration
	wake func()
	// held is closed once the backend is this registrar's.
	held chan struct{}

	// The rest belongs to Tick.
	ours  bool
	until time.Time // how long another's key is waited for
	again *time.Timer
	noted time.Time // when the host was noted last
	note  *time.Timer
}

func newClaim(self state.Backend, ttl time.Duration, wake func()) *claim {
	return &claim{self: self, ttl: ttl, wake: wake, held: make(chan struct{})}
}

// tick keeps the backend's key as the host is now, and reports whether the
// backend is ours. It stays ours while etcd is away; it ends, with an error,
// when another has it.
func (c *claim) tick(t state.Tick, backends *state.Table[state.Backend], now condition) (bool, []state.Group, error) {
	found, taken := backends.Get(c.self.ID)
	mine := taken && c.wrote(found.Value)
	if taken && !mine {
		if free, err := c.contest(found); !free {
			return false, nil, err
		}
	}
	if mine && !c.ours {
		c.ours = true
		close(c.held)
	}
	if t.Lease == clientv3.NoLease {
		return c.ours, nil, nil
	}
	if mine && found.Lease == t.Lease && conditionOf(found.Value) == now && time.Since(c.noted) < noteInterval {
		return c.ours, nil, nil
	}
	c.noteAgain()
	wanted := now.of(c.self)
	return c.ours, []state.Group{{Name: "register backend", Apply: func(tx *state.Tx) error {
		return c.put(tx, wanted, found.ModRevision)
	}}}, nil
}

// put writes the key, unless a registrar wrote it after the Tick that wants it,
// and notes the host for good.
func (c *claim) put(tx *state.Tx, wanted state.Backend, seen int64) error {
	key := state.BackendKey(c.self.ID)
	kv, exists := tx.Get(key)
	there, err := state.JSON[state.Backend](kv.Value)
	if exists && err == nil && kv.ModRevision != seen && !c.wrote(there) {
		return state.ErrSkip
	}
	tx.PutJSON(state.HostKey(c.self.ID), state.Host{Backend: wanted, LastSeen: time.Now().UTC()})
	return putLeasedJSON(tx, key, wanted)
}

// leave notes for good that the host is there until now, unless another has it
// already. It is for after the last Tick; the session has ended.
func (c *claim) leave(ctx context.Context, etcd clientv3.KV, now condition) error {
	if !c.ours {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), contestInterval)
	defer cancel()
	value, err := json.Marshal(state.Host{Backend: now.of(c.self), LastSeen: time.Now().UTC()})
	if err != nil {
		return err
	}
	_, err = etcd.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(state.BackendKey(c.self.ID)), "=", 0)).
		Then(clientv3.OpPut(state.HostKey(c.self.ID), string(value))).
		Commit()
	return err
}

// wrote reports whether the entry is this registrar's own.
func (c *claim) wrote(b state.Backend) bool {
	return b.PID == c.self.PID && b.Hostname == c.self.Hostname && b.Since.Equal(c.self.Since)
}

// contest reports whether a key that another wrote can be taken. That of a
// killed predecessor can, at once if its process is known to be gone. So can
// one without a lease that nobody repairs: no registrar stands behind it. Any
// other is waited for, as long as a dead one's can live.
func (c *claim) contest(found state.Entry[state.Backend]) (bool, error) {
	other := found.Value
	taken := fmt.Errorf("backend %s is already registered by pid %d", c.self.ID, other.PID)
	orphan := found.Lease == clientv3.NoLease
	switch {
	case c.ours && !orphan:
		return false, taken
	case c.ours, other.Hostname == c.self.Hostname && processGone(other.PID):
		return true, nil
	case c.until.IsZero():
		c.until = time.Now().Add(c.ttl + time.Second)
	case time.Now().After(c.until) && !orphan:
		return false, taken
	case time.Now().After(c.until):
		return true, nil
	}
	c.lookAgain()
	return false, nil
}

// noteAgain asks for another Tick when the host is to be noted next.
func (c *claim) noteAgain() {
	c.noted = time.Now()
	if c.note == nil {
		c.note = time.AfterFunc(noteInterval, c.wake)
		return
	}
	c.note.Reset(noteInterval)
}

// lookAgain asks for another Tick: a process's end makes no event in etcd.
func (c *claim) lookAgain() {
	if c.again == nil {
		c.again = time.AfterFunc(contestInterval, c.wake)
		return
	}
	c.again.Reset(contestInterval)
}

// processGone reports whether no process of this host has the pid. One that
// has this very pid was in this one's place before; one that is dead and not
// yet waited for has no program any more.
func processGone(pid int) bool {
	if pid <= 0 || pid == os.Getpid() || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	if _, err := os.Stat("/proc/self/exe"); err != nil {
		return false
	}
	_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return errors.Is(err, fs.ErrNotExist)
}
