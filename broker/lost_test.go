package broker_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// losable is a site whose broker reaches etcd over a link, behind which an empty one
// may come to stand.
type losable struct {
	*site
	link *fixtures.Link
}

// newLosable starts such a site with one backend.
func newLosable(t *testing.T) losable {
	t.Helper()
	t.Parallel()
	s := prepareSite(t, "b1")
	l := losable{s, fixtures.NewLink(t, endpoint(s.client.Endpoints()[0]))}
	s.through = fixtures.EtcdClient(t, l.link.Addr())
	s.start()
	s.awaitBackend()
	return l
}

func endpoint(url string) string { return strings.TrimPrefix(url, "http://") }

// lose has an empty etcd answer in the place of the one that there was.
func (l losable) lose() {
	l.t.Helper()
	l.client = fixtures.Etcd(l.t)
	l.link.Cut()
	l.link.LeadTo(endpoint(l.client.Endpoints()[0]))
	l.link.Heal()
}

// wantNothingSaid wants the broker to say nothing of an instance that there is, or
// was, for which a platform would drop its record.
func (s *site) wantNothingSaid(id string) {
	s.t.Helper()
	for _, asked := range []struct{ method, path string }{
		{http.MethodGet, instancePath(id)},
		{http.MethodGet, instancePath(id) + "/last_operation"},
		{http.MethodDelete, instancePath(id) + ids(singlePlan)},
		{http.MethodGet, bindingPath(id, "app")},
		{http.MethodDelete, bindingPath(id, "app") + ids(singlePlan)},
	} {
		if r := s.call(asked.method, asked.path, nil); r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "pgpatron recover") {
			s.t.Errorf("%s %s: %d %s", asked.method, asked.path, r.status, r.body)
		}
	}
}

// A broker whose etcd is emptied tells no platform that its instances are gone.
func TestEmptiedEtcdSaysNothingOfInstances(t *testing.T) {
	s := newLosable(t)
	s.put(state.SiteKey(), "here")
	s.provision("i", singlePlan)
	s.lose()
	if r := s.call(http.MethodGet, instancePath("i"), nil); r.status == http.StatusNotFound || r.status == http.StatusGone {
		t.Errorf("before the engine knows that etcd is another, the instance is denied: %d %s", r.status, r.body)
	}
	s.poll("the broker says that etcd is another", func() bool {
		r := s.call(http.MethodGet, "/healthz", nil)
		return r.status == http.StatusServiceUnavailable && strings.Contains(r.body, "pgpatron recover")
	})
	s.wantNothingSaid("i")
	if r := s.call(http.MethodGet, "/v2/catalog", nil); r.status != http.StatusOK {
		t.Errorf("the catalog: %d", r.status)
	}
}

// A broker that is started over an emptied etcd hears from registrars, which were
// there before, that it can not say anything of instances.
func TestBrokerHearsOfTheLoss(t *testing.T) {
	s := newSite(t, "b1")
	loss := state.LossKey("b2")
	s.put(loss, `{"backend":"b2","site":"here"}`)
	s.poll("the broker has heard of it", func() bool {
		r := s.call(http.MethodGet, "/healthz", nil)
		return r.status == http.StatusServiceUnavailable && strings.Contains(r.body, "backend b2: etcd was emptied")
	})
	s.wantNothingSaid("i")
	s.want(s.call(http.MethodPut, instancePath("i")+"?accepts_incomplete=true", order(singlePlan)), http.StatusServiceUnavailable)
	if _, err := s.client.Delete(t.Context(), loss); err != nil {
		t.Fatal(err)
	}
	s.poll("the broker serves", func() bool { return s.call(http.MethodGet, "/healthz", nil).status == http.StatusOK })
	s.want(s.call(http.MethodDelete, instancePath("i")+ids(singlePlan), nil), http.StatusGone)
}

// A broker that has kept which site it is of says nothing of instances when it is
// started over an etcd that was emptied, also if that has become a new site's; and
// goes on when its own is back.
func TestBrokerRemembersItsSite(t *testing.T) {
	s := newLosable(t)
	s.stop()
	s.config.SiteFile, s.config.Listen = filepath.Join(t.TempDir(), "site"), fixtures.FreeAddrs(t, "127.0.0.1", 1)[0]
	s.start()
	s.put(state.SiteKey(), "here")
	kept := func(want string) func() bool {
		return func() bool {
			b, err := os.ReadFile(s.config.SiteFile)
			return err == nil && string(b) == want+"\n"
		}
	}
	s.poll("the site is kept", kept("here"))
	s.stop()
	s.lose()
	s.put(state.SiteKey(), "a new one")
	_, stop := s.launch()
	t.Cleanup(stop)
	s.poll("the broker listens", func() bool {
		resp, err := http.Get(s.url + "/healthz")
		return err == nil && resp.Body.Close() == nil
	})
	s.poll("the broker says what it waits for", func() bool {
		return strings.Contains(s.call(http.MethodGet, "/healthz", nil).body, "pgpatron recover")
	})
	s.wantNothingSaid("i")
	s.put(state.EraKey(), "1")
	s.put(state.SiteKey(), "here")
	s.poll("the broker serves", func() bool { return s.call(http.MethodGet, "/healthz", nil).status == http.StatusOK })
	if !kept("here")() {
		t.Error("it has kept another site")
	}
}
