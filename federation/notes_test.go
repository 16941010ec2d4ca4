package federation_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/pgpatron/pgpatron/state"
)

// say has a site's broker say something about the move of an instance.
func (s *site) say(n state.MoveNote) {
	s.t.Helper()
	raw, err := json.Marshal(n)
	if err != nil {
		s.t.Fatal(err)
	}
	s.put(state.FederationMoveKey(n.Instance, state.MoveOwn), string(raw))
}

// heard returns a note at the site, the zero note if there is none.
func (s *site) heard(id, side string) state.MoveNote {
	s.t.Helper()
	raw := s.value(state.FederationMoveKey(id, side))
	if raw == "" {
		return state.MoveNote{}
	}
	n, err := state.JSON[state.MoveNote]([]byte(raw))
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// send delivers a note to a site with this one's certificate, and returns the
// answer.
func (s *site) send(to *site, n state.MoveNote) (status int, body string) {
	s.t.Helper()
	cert, err := tls.LoadX509KeyPair(s.cfg.Files.Cert, s.cfg.Files.Key)
	if err != nil {
		s.t.Fatal(err)
	}
	ca, err := os.ReadFile(s.cfg.Files.CA)
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots, ServerName: to.dc}, DisableKeepAlives: true,
	}}
	raw, err := json.Marshal(n)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := client.Post("https://"+to.cfg.Listen+"/v1/federation/moves", "application/json", bytes.NewReader(raw))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// Notes reach the other site, the newest of them stays, and a closed move leaves
// nothing. The new home is decided when the home's broker says so, not before.
func TestNotesAboutAMove(t *testing.T) {
	t.Parallel()
	sites := newSites(t, "dc-0", "dc-1", "dc-2")
	a, b, c := sites[0], sites[1], sites[2]
	a.mustAdd(b)
	a.mustAdd(c)
	agree(t, a, b, c)
	if _, err := a.reserve("i"); err != nil {
		t.Fatal(err)
	}
	agree(t, a, b, c)
	home := func(s *site) string {
		gips, err := s.client.GIPs(t.Context())
		if err != nil || len(gips) != 1 {
			t.Fatalf("%s: %v, %v", s.dc, gips, err)
		}
		return gips[0].Home
	}
	asked := state.MoveNote{Move: "m1", Instance: "i", From: "dc-0", To: "dc-1", Author: "dc-0", Seq: 1, Stage: state.MoveAsked}
	stranger := asked
	stranger.From, stranger.Author = "dc-2", "dc-2"
	if status, body := c.send(b, stranger); status != http.StatusConflict {
		t.Errorf("a note of a site that is not the home: %d %s", status, body)
	}
	if status, body := c.send(b, asked); status != http.StatusForbidden {
		t.Errorf("a note in another's name: %d %s", status, body)
	}
	a.say(asked)
	await(t, "dc-1 has heard", func() bool { return b.heard("i", state.MovePeer).Stage == state.MoveAsked })
	closed := state.MoveNote{Move: "m0", Instance: "i", From: "dc-2", To: "dc-1", Author: "dc-2", Seq: 1, Stage: state.MoveClosed}
	if status, body := c.send(b, closed); status != http.StatusOK || b.heard("i", state.MovePeer).Move != "m1" {
		t.Errorf("the end of a move that nobody knows: %d %s", status, body)
	}
	b.say(state.MoveNote{Move: "m1", Instance: "i", From: "dc-0", To: "dc-1", Author: "dc-1", Seq: 1, Stage: state.MoveLevel})
	await(t, "dc-0 has heard", func() bool { return a.heard("i", state.MovePeer).Stage == state.MoveLevel })
	third := state.MoveNote{Move: "m1", Instance: "i", From: "dc-0", To: "dc-2", Author: "dc-2", Seq: 99, Stage: state.MoveLevel}
	if status, body := c.send(a, third); status != http.StatusConflict || a.heard("i", state.MovePeer).Author != "dc-1" {
		t.Errorf("a note of a site that the instance does not go to: %d %s", status, body)
	}
	third.From, third.To = "dc-2", "dc-1"
	for _, third.Stage = range []state.MoveStage{state.MoveWithdrawn, state.MoveClosed} {
		if status, body := c.send(b, third); status != http.StatusConflict || b.heard("i", state.MovePeer).Author != "dc-0" {
			t.Errorf("a note of a site that the instance does not come from: %d %s", status, body)
		}
	}
	ready := asked
	ready.Seq, ready.Stage = 3, state.MoveFrozen
	a.say(ready)
	await(t, "dc-1 has heard", func() bool { return b.heard("i", state.MovePeer).Stage == state.MoveFrozen })
	if status, body := a.send(b, asked); status != http.StatusOK || b.heard("i", state.MovePeer).Stage != state.MoveFrozen {
		t.Errorf("a note that comes late: %d %s, %+v", status, body, b.heard("i", state.MovePeer))
	}
	if got := home(a); got != "dc-0" {
		t.Fatalf("the home is %s before anybody consented", got)
	}
	ready.Seq, ready.Stage = 4, state.MoveReady
	a.say(ready)
	await(t, "all know the new home", func() bool { return home(a) == "dc-1" && home(b) == "dc-1" && home(c) == "dc-1" })
	if got := b.value(state.AllocationKey("i")); got != "30000" {
		t.Errorf("the instance's port at its new home is %q", got)
	}
	ready.Seq, ready.Stage = 5, state.MoveClosed
	a.say(ready)
	await(t, "nothing is left", func() bool {
		return a.heard("i", state.MoveOwn).Move+a.heard("i", state.MovePeer).Move+b.heard("i", state.MoveOwn).Move+b.heard("i", state.MovePeer).Move == ""
	})
}
