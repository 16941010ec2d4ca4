package federation

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"
)

// handler serves other sites, and the site's own operators.
func (f *Federation) handler() http.Handler {
	routes := chi.NewRouter()
	routes.Group(func(peers chi.Router) {
		for _, verb := range []Verb{Prepare, Commit, Abort} {
			peers.Post("/v1/federation/tx/{id}/"+string(verb), f.serveVerb(verb))
		}
		peers.Get("/v1/federation/tx/{id}", f.serveAsk)
		peers.Post("/v1/federation/hello", f.serveVerb(Hello))
		peers.Post("/v1/federation/moves", f.serveNote)
	})
	routes.Group(func(own chi.Router) {
		own.Use(f.ownOnly)
		own.Get("/v1/federation", f.serveStatus)
		own.Post("/v1/federation/dcs", f.serveAdd)
		own.Delete("/v1/federation/dcs/{names}", f.serveEvict)
		own.Post("/v1/federation/leave", f.serveLeave)
		own.Post("/v1/federation/reset", f.serveReset)
		own.Get("/v1/gips", f.serveGIPs)
		own.Post("/v1/gips", f.serveReserve)
	})
	return routes
}

// caller returns the name in the certificate of whoever calls.
func caller(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	return r.TLS.PeerCertificates[0].Subject.CommonName
}

// ownOnly lets in only those who have this site's own certificate.
func (f *Federation) ownOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := caller(r); name != f.cfg.DC {
			http.Error(w, fmt.Sprintf("the certificate is of %q: only %s itself may do this", name, f.cfg.DC), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serveVerb answers another site's request.
func (f *Federation) serveVerb(verb Verb) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req Request
		if !take(w, r, &req) {
			return
		}
		if tx := chi.URLParam(r, "id"); req.Verb != verb || req.Tx != tx {
			http.Error(w, "the request's body is of another request", http.StatusBadRequest)
			return
		}
		if verb == Prepare && req.Candidate && !f.knowsToken(r) {
			answer(w, nil, refuse(Unable, "%s wants its join token to be shown by whoever invites it", f.cfg.DC))
			return
		}
		f.serve(w, r, req)
	}
}

// serveAsk answers what became of a transaction.
func (f *Federation) serveAsk(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	base, err := strconv.Atoi(q.Get("base_epoch"))
	if err != nil {
		http.Error(w, "base_epoch: want a number", http.StatusBadRequest)
		return
	}
	f.serve(w, r, Request{
		Verb: Ask, Tx: chi.URLParam(r, "id"), From: Peer{DC: q.Get("from")}, Federation: q.Get("federation"), Base: base, Coordinator: q.Get("coordinator"),
	})
}

func (f *Federation) serve(w http.ResponseWriter, r *http.Request, req Request) {
	if name := caller(r); name != req.From.DC {
		http.Error(w, fmt.Sprintf("the certificate is of %q, the request says it is from %q", name, req.From.DC), http.StatusForbidden)
		return
	}
	var reply Reply
	err := f.store.do(r.Context(), string(req.Verb), func(s *Site) (err error) {
		reply, err = s.Handle(req)
		return err
	})
	answer(w, reply, err)
}

// knowsToken reports whether the caller shows this site's join token.
func (f *Federation) knowsToken(r *http.Request) bool {
	shown, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	own := f.cfg.JoinToken.Reveal()
	return ok && own != "" && subtle.ConstantTimeCompare([]byte(shown), []byte(own)) == 1
}

// take decodes a body strictly.
func take(w http.ResponseWriter, r *http.Request, into any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		http.Error(w, "body: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

// answer writes a result, a refusal, or that nothing can be said.
func answer(w http.ResponseWriter, result any, err error) {
	status := http.StatusOK
	if err != nil {
		refusal, ok := errors.AsType[*Refusal](err)
		if !ok {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		status, result = http.StatusConflict, refusal
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that is gone needs no answer.
	_ = json.NewEncoder(w).Encode(result)
}
