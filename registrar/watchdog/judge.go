package watchdog

import (
	"fmt"
	"time"
)

// The limits that are not the operator's.
const (
	// usurpLimit is how long a server may take writes without the leader key.
	// Patroni needs a moment itself, to demote.
	usurpLimit = 2 * time.Second
	// deafLimit is half of the leader key's TTL: a Patroni that was silent for so
	// long can not be relied on to demote in time.
	deafLimit = 10 * time.Second
	// lateness is how late our own beat may be. Beyond it the host, or this
	// process, stood still, and the silence may have been ours.
	lateness = time.Second
)

// Cause is what is wrong with a node.
type Cause string

// The causes of findings.
const (
	// PostgresSilent is a leader whose server does not answer.
	PostgresSilent Cause = "postgres_silent"
	// PostgresGone is a leader of a synchronous cluster whose server is no more.
	PostgresGone Cause = "postgres_gone"
	// PatroniSilent is a leader whose Patroni does not answer.
	PatroniSilent Cause = "patroni_silent"
	// Usurper is a server that takes writes while the leader key is not its own.
	Usurper Cause = "usurper"
	// PatroniDeaf is any node whose Patroni was silent for half a TTL.
	PatroniDeaf Cause = "patroni_deaf"
)

// Finding is a reason to kill a node, with its evidence.
type Finding struct {
	Cause    Cause  `json:"cause"`
	Evidence string `json:"evidence"`
}

// LeaderOnly reports whether the finding holds only while the node leads.
func (f Finding) LeaderOnly() bool {
	return f.Cause == PostgresSilent || f.Cause == PostgresGone || f.Cause == PatroniSilent
}

// IsSilence reports whether the finding is no more than that a leader does not answer. What
// keeps it from answering may not be its own.
func (f Finding) IsSilence() bool { return f.Cause == PostgresSilent || f.Cause == PatroniSilent }

// silence is since when something has not answered.
type silence struct {
	// heard is when the last answer came. Zero: none came yet, and what never
	// spoke can not fall silent.
	heard time.Time
	// starved says that who is silent waits for a processor.
	starved bool
}

func (s silence) longer(now time.Time, limit time.Duration) bool {
	return !s.heard.IsZero() && now.Sub(s.heard) > limit
}

// judge weighs what is seen of one node. Its times are of a monotonic clock.
type judge struct {
	patience time.Duration
	beat     time.Time

	postgres, patroni silence
	// writable is what the server said last: it is not in recovery.
	writable bool
	// gone says that the server's process ended without a good-bye.
	gone bool
	// led says that the node has held the leader key in this run.
	led bool
	// usurps is since when the node takes writes without the key. Zero: it
	// does not.
	usurps time.Time
}

// rest forgets all silences: they may have been ours.
func (j *judge) rest(now time.Time) {
	for _, s := range []*silence{&j.postgres, &j.patroni} {
		if !s.heard.IsZero() {
			s.heard = now
		}
	}
	j.usurps = time.Time{}
}

// weigh is called at every beat, at most interval apart, and returns what is
// found.
func (j *judge) weigh(now time.Time, interval time.Duration, o Office) (Finding, bool) {
	if !j.beat.IsZero() && now.Sub(j.beat) > interval+lateness {
		j.rest(now)
	}
	j.beat = now
	j.led = j.led || o.Known && o.Leads
	if f, bad := j.weighUsurper(now, o); bad {
		return f, true
	}
	if o.Stopping {
		return Finding{}, false
	}
	// One that starves and is seen to take no writes without the key may go on: its host is
	// short of processors, and a new start takes more of them.
	if j.patroni.longer(now, deafLimit) && !(j.patroni.starved && o.Known) {
		return Finding{PatroniDeaf, fmt.Sprintf("Patroni has not answered for %v", now.Sub(j.patroni.heard).Round(time.Millisecond))}, true
	}
	if !o.Known || !o.Leads {
		return Finding{}, false
	}
	return j.weighLeader(now, o)
}

// weighUsurper looks for a server that takes writes although the key is
// another's, or was its own and is gone. One that never held the key and sees
// none is being made.
func (j *judge) weighUsurper(now time.Time, o Office) (Finding, bool) {
	if !j.writable || !o.Known || o.Leads || !o.Led && !j.led {
		j.usurps = time.Time{}
		return Finding{}, false
	}
	if j.usurps.IsZero() {
		j.usurps = now
	}
	held := now.Sub(j.usurps)
	if held <= usurpLimit {
		return Finding{}, false
	}
	return Finding{Usurper, fmt.Sprintf("takes writes and has not held the leader key for %v", held.Round(time.Millisecond))}, true
}

// weighLeader looks for a leader that hangs.
func (j *judge) weighLeader(now time.Time, o Office) (Finding, bool) {
	switch {
	case j.gone && o.Candidate:
		return Finding{PostgresGone, "the server ended its sessions abruptly and refuses new ones"}, true
	case j.hangs(now, j.postgres, o):
		return Finding{PostgresSilent, fmt.Sprintf("PostgreSQL has not answered for %v", now.Sub(j.postgres.heard).Round(time.Millisecond))}, true
	case j.hangs(now, j.patroni, o):
		return Finding{PatroniSilent, fmt.Sprintf("Patroni has not answered for %v", now.Sub(j.patroni.heard).Round(time.Millisecond))}, true
	}
	return Finding{}, false
}

// hangs reports whether a leader was silent for too long. It is given more time if it starves,
// and without somebody to take over, when killing it ends the service for sure; all the time if both.
func (j *judge) hangs(now time.Time, s silence, o Office) bool {
	if s.starved && !o.Candidate {
		return false
	}
	patience := j.patience
	if s.starved || !o.Candidate {
		patience = max(patience, deafLimit)
	}
	return s.longer(now, patience)
}
