package federation

import (
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/pgpatron/pgpatron/state"
)

// Addition is the body of POST /v1/federation/dcs.
type Addition struct {
	DC      string `json:"dc"`
	Address string `json:"address"`
	// Token is the candidate's join token.
	Token state.Secret `json:"token"`
}

// Departure is the body of POST /v1/federation/leave.
type Departure struct {
	// Release gives up the global ports whose home the site is.
	Release bool `json:"release"`
}

// Reservation is the body of POST /v1/gips, and one line of GET /v1/gips.
type Reservation struct {
	Port     int    `json:"port,omitempty"`
	Instance string `json:"instance_id"`
	Home     string `json:"home,omitempty"`
}

// Status is the body of GET /v1/federation.
type Status struct {
	// Self is what the site permanently knows, and State where it stands now.
	Self  Self  `json:"self"`
	State State `json:"state"`
	// Overlay is the transaction that the site waits for.
	Overlay *Overlay `json:"overlay,omitempty"`
	// Untold are sites that have not yet taken a decision.
	Untold []string `json:"untold,omitempty"`
	// Doubts are transactions of which the site does not know what became.
	Doubts []string  `json:"doubts,omitempty"`
	GIPs   int       `json:"gips"`
	Time   time.Time `json:"time"`
}

func (f *Federation) serveStatus(w http.ResponseWriter, r *http.Request) {
	var status Status
	err := f.store.read(r.Context(), func(s *Site) { status = s.status() })
	answer(w, status, err)
}

// status tells people where the site stands.
func (s *Site) status() Status {
	status := Status{Self: s.self, State: s.State(), Overlay: s.overlay, Time: s.now}
	for id, l := range s.outbox.all() {
		untold := id.DC
		if l.Elsewhere != "" {
			untold += " (" + l.Elsewhere + ")"
		}
		status.Untold = append(status.Untold, untold)
	}
	for tx := range s.holds.all() {
		status.Doubts = append(status.Doubts, tx)
	}
	for range s.gips.all() {
		status.GIPs++
	}
	return status
}

func (f *Federation) serveAdd(w http.ResponseWriter, r *http.Request) {
	var body Addition
	if !take(w, r, &body) {
		return
	}
	name, err := ParseName(body.DC)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	address, err := ParseAddress(body.Address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	err = f.propose(r.Context(), Proposal{Kind: Add, Peers: []Peer{{DC: name, Address: address}}}, body.Token)
	f.answerStatus(w, r, err)
}

func (f *Federation) serveEvict(w http.ResponseWriter, r *http.Request) {
	p := Proposal{Kind: Evict, Drop: r.URL.Query().Get("release") == "true"}
	for name := range strings.SplitSeq(chi.URLParam(r, "names"), ",") {
		p.Peers = append(p.Peers, Peer{DC: name})
	}
	if r.URL.Query().Get("force") != "true" {
		answer(w, nil, refuse(Unable, "evicting %s needs --force: what it has decided and told nobody is lost", p.subject()))
		return
	}
	f.answerStatus(w, r, f.propose(r.Context(), p, ""))
}

func (f *Federation) serveLeave(w http.ResponseWriter, r *http.Request) {
	var body Departure
	if take(w, r, &body) {
		f.answerStatus(w, r, f.propose(r.Context(), Proposal{Kind: Leave, Drop: body.Release}, ""))
	}
}

func (f *Federation) serveReset(w http.ResponseWriter, r *http.Request) {
	f.answerStatus(w, r, f.store.do(r.Context(), "reset", func(s *Site) error { return s.Reset(f.store.fresh()) }))
}

// answerStatus answers a change with where the site stands after it.
func (f *Federation) answerStatus(w http.ResponseWriter, r *http.Request, err error) {
	if err != nil {
		answer(w, nil, err)
		return
	}
	f.serveStatus(w, r)
}

func (f *Federation) serveGIPs(w http.ResponseWriter, r *http.Request) {
	list := []Reservation{}
	err := f.store.read(r.Context(), func(s *Site) {
		list = list[:0]
		for port, g := range s.gips.all() {
			list = append(list, Reservation{Port: port, Instance: g.Instance, Home: g.Home})
		}
	})
	answer(w, list, err)
}

func (f *Federation) serveReserve(w http.ResponseWriter, r *http.Request) {
	var body Reservation
	if !take(w, r, &body) {
		return
	}
	if body.Instance == "" {
		http.Error(w, "instance_id: must be set", http.StatusBadRequest)
		return
	}
	port, err := f.reserve(r.Context(), body.Instance)
	answer(w, Reservation{Port: port, Instance: body.Instance, Home: f.cfg.DC}, err)
}
