package osb

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/pivotal-cf/brokerapi/v10/domain"
)

// catalogPath is where platforms read the catalog.
const catalogPath = "/v2/catalog"

// extendCatalog adds to the catalog what brokerapi v10 has no fields for.
func extendCatalog(broker domain.ServiceBroker) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == catalogPath {
				if known, err := broker.Services(r.Context()); err == nil {
					SetField(r.Context(), "services", extendServices(known))
				}
			}
			next.ServeHTTP(w, r)
		})
	}
}

// extendedService and extendedPlan are brokerapi's with the fields that it lacks.
type extendedService struct {
	domain.Service
	Plans []extendedPlan `json:"plans"`
}

type extendedPlan struct {
	domain.ServicePlan
	BindingRotatable bool `json:"binding_rotatable"`
}

func extendServices(known []domain.Service) []extendedService {
	var out []extendedService
	for _, s := range known {
		extended := extendedService{Service: s}
		for _, p := range s.Plans {
			extended.Plans = append(extended.Plans, extendedPlan{ServicePlan: p, BindingRotatable: true})
		}
		out = append(out, extended)
	}
	return out
}

// Broker is a broker of brokerapi whose catalog may change while it runs.
type Broker interface {
	domain.ServiceBroker
	// CatalogVersion is another whenever the catalog is. It is asked often.
	CatalogVersion() string
}

// catalogAnswer is one version of the catalog as it is sent.
type catalogAnswer struct {
	version string
	tag     string
	body    []byte
}

// tagCatalog gives the catalog an entity tag (RFC 9110, section 8.8.3), so that
// a platform need not read again what it knows. Each version is made once.
func tagCatalog(broker Broker) func(http.Handler) http.Handler {
	var made atomic.Pointer[catalogAnswer]
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.URL.Path != catalogPath {
				next.ServeHTTP(w, r)
				return
			}
			version := broker.CatalogVersion()
			answer := made.Load()
			if answer == nil || answer.version != version {
				kept := &keptResponse{ResponseWriter: w, status: http.StatusOK}
				next.ServeHTTP(kept, r)
				if kept.status != http.StatusOK {
					kept.send(kept.body.Bytes())
					return
				}
				answer = &catalogAnswer{version, fmt.Sprintf(`"%x"`, sha256.Sum256(kept.body.Bytes())), kept.body.Bytes()}
				made.Store(answer)
			}
			answer.send(w, r)
		})
	}
}

// send answers with the catalog, or says that it has not changed.
func (a *catalogAnswer) send(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", a.tag)
	if matches(r.Header.Get("If-None-Match"), a.tag) {
		w.Header().Del("Content-Type")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// A client that is gone needs no answer.
	_, _ = w.Write(a.body)
}

// matches reports whether an If-None-Match header names the tag.
func matches(header, tag string) bool {
	tags := strings.Split(header, ",")
	return slices.ContainsFunc(tags, func(t string) bool {
		t = strings.TrimPrefix(strings.TrimSpace(t), "W/")
		return t == tag || t == "*"
	})
}
