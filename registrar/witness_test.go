package registrar_test

import (
	"testing"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// A registrar that sees etcd emptied tells so there, for those who come later, and
// takes it back when the site's records are there again.
func TestLossIsTold(t *testing.T) {
	s := newSite(t)
	link, client := s.behindLink()
	s.put(state.SiteKey(), s.id)
	s.start(s.config(), client)
	told := func(key string) bool {
		value, _ := s.value(key)
		return value != ""
	}
	s.await("the backend is registered", func() bool { return told(state.BackendKey(testBackend)) })
	if told(state.LossKey(testBackend)) {
		t.Error("it says that the etcd of its site has lost something")
	}
	empty := fixtures.EtcdServer(t)
	link.Cut()
	link.LeadTo(empty.Endpoints()[0])
	link.Heal()
	s.client = empty.Client()
	s.await("it is told", func() bool { return told(state.LossKey(testBackend)) })
	if _, lease := s.value(state.LossKey(testBackend)); lease == 0 {
		t.Error("it would be told for ever")
	}
	s.put(state.EraKey(), "1")
	s.put(state.SiteKey(), s.id)
	s.await("it is taken back", func() bool { return !told(state.LossKey(testBackend)) })
}
