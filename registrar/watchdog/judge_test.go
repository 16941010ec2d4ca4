package watchdog

import (
	"testing"
	"time"
)

// world is a judge with a clock. Each beat comes when it should.
type world struct {
	judge  judge
	now    time.Time
	office Office
	// deadPostgres and deadPatroni do not answer, starved says why.
	deadPostgres, deadPatroni, starved bool
}

func newWorld(o Office) *world {
	w := &world{judge: judge{patience: DefaultPatience}, now: time.Unix(1000, 0), office: o}
	w.run(5 * time.Second)
	return w
}

// run lets time pass and returns the first finding, and when it was made.
func (w *world) run(d time.Duration) (Cause, time.Duration) {
	for passed := time.Duration(0); passed < d; passed += leaderInterval {
		w.now = w.now.Add(leaderInterval)
		if !w.deadPostgres {
			w.judge.postgres.heard = w.now
		}
		if !w.deadPatroni {
			w.judge.patroni.heard = w.now
		}
		w.judge.postgres.starved, w.judge.patroni.starved = w.starved && w.deadPostgres, w.starved && w.deadPatroni
		if f, bad := w.judge.weigh(w.now, leaderInterval, w.office); bad {
			return f.Cause, passed + leaderInterval
		}
	}
	return "", 0
}

var (
	leads       = Office{Known: true, Leads: true, Candidate: true}
	leadsAlone  = Office{Known: true, Leads: true}
	follows     = Office{Known: true, Led: true}
	nobodyLeads = Office{Known: true}
	blind       = Office{}
)

func TestSilence(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		office            Office
		postgres, patroni bool // which of them falls silent
		want              Cause
		limit             time.Duration
	}{
		"leader's server":               {leads, true, false, PostgresSilent, DefaultPatience},
		"leader's patroni":              {leads, false, true, PatroniSilent, DefaultPatience},
		"leader altogether":             {leads, true, true, PostgresSilent, DefaultPatience},
		"lone leader's server":          {leadsAlone, true, false, PostgresSilent, deafLimit},
		"lone leader's patroni":         {leadsAlone, false, true, PatroniDeaf, deafLimit},
		"replica's server":              {follows, true, false, "", 0},
		"replica's patroni":             {follows, false, true, PatroniDeaf, deafLimit},
		"patroni, etcd unreachable":     {blind, false, true, PatroniDeaf, deafLimit},
		"server, etcd unreachable":      {blind, true, false, "", 0},
		"nobody is silent":              {leads, false, false, "", 0},
		"nobody is silent, none leads":  {nobodyLeads, false, false, "", 0},
		"server of a cluster in choice": {nobodyLeads, true, false, "", 0},
		"leader that is being stopped":  {Office{Known: true, Leads: true, Candidate: true, Stopping: true}, true, true, "", 0},
		"replica that is being stopped": {Office{Known: true, Led: true, Stopping: true}, true, true, "", 0},
	} {
		w := newWorld(c.office)
		w.deadPostgres, w.deadPatroni = c.postgres, c.patroni
		got, after := w.run(time.Minute)
		if got != c.want || got != "" && (after <= c.limit || after > c.limit+2*leaderInterval) {
			t.Errorf("%s: got %q after %v, want %q after %v", name, got, after, c.want, c.limit)
		}
	}
}

// Who waits for a processor is given more time, and is killed only where that helps.
func TestStarvation(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		office            Office
		postgres, patroni bool // which of them falls silent
		want              Cause
	}{
		"leader's server":           {leads, true, false, PostgresSilent},
		"leader's patroni":          {leads, false, true, PatroniSilent},
		"lone leader's server":      {leadsAlone, true, false, ""},
		"lone leader's patroni":     {leadsAlone, false, true, ""},
		"replica's patroni":         {follows, false, true, ""},
		"patroni, etcd unreachable": {blind, false, true, PatroniDeaf},
	} {
		w := newWorld(c.office)
		w.deadPostgres, w.deadPatroni, w.starved = c.postgres, c.patroni, true
		got, after := w.run(time.Minute)
		if got != c.want || got != "" && (after <= deafLimit || after > deafLimit+2*leaderInterval) {
			t.Errorf("%s: got %q after %v, want %q after %v", name, got, after, c.want, deafLimit)
		}
	}
}

// A server that starves and takes writes without the key is a danger all the same.
func TestStarvedUsurper(t *testing.T) {
	t.Parallel()
	w := newWorld(leads)
	w.deadPatroni, w.starved = true, true
	w.judge.writable, w.office = true, nobodyLeads
	if got, _ := w.run(time.Minute); got != Usurper {
		t.Errorf("got %q", got)
	}
}

// What never answered is starting: a clone or a recovery takes its time.
func TestWhatNeverSpokeIsNotSilent(t *testing.T) {
	t.Parallel()
	w := &world{judge: judge{patience: DefaultPatience}, now: time.Unix(1000, 0), office: leads, deadPostgres: true, deadPatroni: true}
	if got, _ := w.run(time.Hour); got != "" {
		t.Errorf("got %q", got)
	}
}

// If our own beat is late, this host stood still, or this process: the silence
// may have been ours.
func TestOwnPauseIsNoSilence(t *testing.T) {
	t.Parallel()
	w := newWorld(leads)
	w.deadPostgres = true
	w.run(2 * time.Second)
	w.now = w.now.Add(time.Hour)
	if f, bad := w.judge.weigh(w.now, leaderInterval, w.office); bad {
		t.Fatalf("right after the pause: %v", f)
	}
	if got, after := w.run(time.Minute); got != PostgresSilent || after <= DefaultPatience {
		t.Errorf("got %q after %v", got, after)
	}
}

func TestUsurper(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, now Office
		want        Cause
	}{
		"another leads":                  {leads, follows, Usurper},
		"its key is gone":                {leads, nobodyLeads, Usurper},
		"being made, never led":          {nobodyLeads, nobodyLeads, ""},
		"etcd unreachable":               {leads, blind, ""},
		"still leads":                    {leads, leads, ""},
		"another leads, never led":       {nobodyLeads, follows, Usurper},
		"key gone while it was not seen": {blind, nobodyLeads, ""},
	} {
		w := newWorld(c.before)
		w.judge.writable, w.office = true, c.now
		got, after := w.run(time.Minute)
		if got != c.want || got != "" && after > usurpLimit+2*leaderInterval {
			t.Errorf("%s: got %q after %v, want %q", name, got, after, c.want)
		}
	}
}

// A leader that gets its key back in time is none.
func TestShortUsurpationIsForgiven(t *testing.T) {
	t.Parallel()
	w := newWorld(leads)
	w.judge.writable = true
	for range 20 {
		w.office = nobodyLeads
		if got, _ := w.run(usurpLimit - leaderInterval); got != "" {
			t.Fatalf("got %q", got)
		}
		w.office = leads
		if got, _ := w.run(time.Second); got != "" {
			t.Fatalf("got %q", got)
		}
	}
}

func TestGoneServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		office Office
		want   Cause
	}{
		"leader with a standby": {leads, PostgresGone},
		"lone leader":           {leadsAlone, ""},
		"replica":               {follows, ""},
		"etcd unreachable":      {blind, ""},
	} {
		w := newWorld(c.office)
		w.judge.gone = true
		if got, _ := w.run(time.Second); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
