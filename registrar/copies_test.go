package registrar_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/copies"
	"github.com/pgpatron/pgpatron/state/sealed"
)

// recordKeys are the site's.
func recordKeys() *sealed.Ring { return sealed.NewRing(sealed.NewKey([32]byte{1})) }

// slot returns one of the files with copies on a node's volume.
func (s *site) slot(node, number string) string {
	c, _ := s.docker.get("cf-" + node)
	return c.Files["/var/lib/postgresql/records."+number]
}

// copyOf returns the newest copy on a node's volume that can be opened.
func (s *site) copyOf(node string, keys *sealed.Ring) (newest copies.Copy) {
	for _, number := range []string{"0", "1"} {
		c, err := copies.Decode([]byte(s.slot(node, number)), keys)
		if err == nil && c.Age.Compare(newest.Age) > 0 {
			newest = c
		}
	}
	return newest
}

func holds(c copies.Copy, key, value string) bool {
	got, ok := c.Value(key)
	return ok && string(got) == value
}

// TestVolumeCarriesACopy: sealed, of all that is recorded, again after each change;
// and the one before it stays whole.
func TestVolumeCarriesACopy(t *testing.T) {
	s := newSite(t)
	cfg := s.config()
	cfg.RecordKeys = recordKeys()
	s.put(state.BindingKey("db1", "x"), `{"role":"x"}`)
	s.record(cluster("db1", "n1"))
	s.start(cfg, s.client)
	s.await("there is a copy", func() bool {
		return holds(s.copyOf("n1", cfg.RecordKeys), state.BindingKey("db1", "x"), `{"role":"x"}`)
	})
	for _, change := range []struct{ key, value string }{
		{state.AllocationKey("db1"), "30001"}, {state.InstanceKey("db1"), `{"a":1}`}, {state.BindingKey("db1", "x"), `{"role":"y"}`},
		{state.DatasourceKey("db1", "n1"), "DISABLED"},
	} {
		s.put(change.key, change.value)
		s.await("the copy has "+change.key, func() bool { return holds(s.copyOf("n1", cfg.RecordKeys), change.key, change.value) })
	}
	s.put(state.CordonKey(testBackend), state.Disabled)
	s.await("the copy has the backend's switch", func() bool { return len(s.copyOf("n1", cfg.RecordKeys).Host) == 1 })
	for _, number := range []string{"0", "1"} {
		text := s.slot("n1", number)
		if _, err := copies.Decode([]byte(text), cfg.RecordKeys); err != nil {
			t.Errorf("slot %s: %v", number, err)
		}
		if strings.Contains(text, "secret-of-") || strings.Contains(text, "role") {
			t.Errorf("slot %s can be read", number)
		}
	}
}

func TestWithoutAKeyCopiesHoldNoPassword(t *testing.T) {
	s := newSite(t)
	s.record(cluster("db1", "n1"))
	s.run()
	s.await("there is a copy", func() bool { return s.copyOf("n1", nil).Bare })
	if text := s.slot("n1", "0") + s.slot("n1", "1"); strings.Contains(text, "secret-of-") {
		t.Errorf("a copy holds a password: %s", text)
	}
}

// backedUp puts a copy on a node's volume that is newer than etcd.
func (s *site) backedUp(node string, keys *sealed.Ring) string {
	s.Helper()
	newer := copies.Copy{Header: copies.Header{
		Version: 1, Subject: copies.Subject{Site: s.id, Instance: "db1", Node: node, Backend: testBackend}, Age: copies.Age{Revision: 1 << 40},
	}}
	b, err := newer.Encode(keys)
	if err != nil {
		s.Fatal(err)
	}
	s.docker.mu.Lock()
	c := s.docker.containers["cf-"+node]
	c.Files = maps.Clone(c.Files)
	if c.Files == nil {
		c.Files = map[string]string{}
	}
	c.Files["/var/lib/postgresql/records.1"] = string(b)
	s.docker.mu.Unlock()
	return string(b)
}

// TestEtcdOlderThanACopy: what etcd of an earlier day does not know is not removed,
// and its newer copies are not written over.
func TestEtcdOlderThanACopy(t *testing.T) {
	s := newSite(t)
	s.record(cluster("db1", "known"))
	stop := s.run()
	s.await("there is a copy", func() bool { return s.copyOf("known", nil).Instance == "db1" })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	older := s.slot("known", "0")
	s.docker.put("cf-unknown", true, labels("site-1", testBackend, "db1", "unknown"))
	s.docker.put("cf-orphan", true, labels("site-1", testBackend, "gone", "orphan"))
	s.backedUp("unknown", nil)
	before := s.backedUp("known", nil)
	s.run()
	s.await("an orphan without a copy is gone", func() bool { _, there := s.docker.get("cf-orphan"); return !there })
	s.put(state.InstanceKey("db1"), `{"a":1}`)
	s.record(cluster("db2", "n2"))
	s.await("another node's copy is written", func() bool { return s.copyOf("n2", nil).Instance == "db2" })
	s.never("a container is gone whose copy is newer than etcd", func() bool { _, there := s.docker.get("cf-unknown"); return !there })
	if got := s.slot("known", "1"); got != before || s.slot("known", "0") != older {
		t.Error("a copy that is newer than etcd was written over")
	}
}

// A container that Docker removed by half, through which nothing can be read any more, is
// removed all the same.
func TestContainerRemovedByHalfGoes(t *testing.T) {
	s := newSite(t)
	c := cluster("db1", "n1")
	s.record(c)
	s.run()
	s.await("there is a copy", func() bool { return s.copyOf("n1", nil).Instance == "db1" })
	s.docker.failHalfway()
	s.record(removed(c))
	s.await("the container is gone", func() bool { _, there := s.docker.get("cf-n1"); return !there })
}

// asked asks as pgpatron recover does, and returns what the backend tells.
func (s *site) asked(id string) (found []copies.Found) {
	s.Helper()
	s.putJSON(state.RecoveryKey(), copies.Request{ID: id})
	s.await("the backend answers", func() bool {
		value, lease := s.value(state.AnswerKey(testBackend))
		return strings.Contains(value, id) && lease != 0
	})
	for _, node := range []string{"n1", "n2", "theirs"} {
		value, _ := s.value(state.CopyKey(testBackend, node))
		if value == "" {
			continue
		}
		f, err := state.JSON[copies.Found]([]byte(value))
		if err != nil {
			s.Fatal(err)
		}
		found = append(found, f)
	}
	return found
}

// TestRegistrarTellsItsCopies: of every site whose volumes are here, and what the
// nodes were given where the copies hold no passwords.
func TestRegistrarTellsItsCopies(t *testing.T) {
	s := newSite(t)
	s.docker.put("cf-theirs", false, labels("site-2", testBackend, "other", "theirs"))
	s.record(cluster("db1", "n1"))
	s.run()
	s.await("there is a copy", func() bool { return s.copyOf("n1", nil).Bare })
	found := s.asked("first")
	i := slices.IndexFunc(found, func(f copies.Found) bool { return f.Node == "n1" })
	if len(found) != 2 || i < 0 {
		t.Fatalf("told: %+v", found)
	}
	mine, theirs := found[i], found[1-i]
	c, err := copies.Decode(mine.Copy, nil)
	if err != nil || c.Instance != "db1" || !mine.Running || mine.Logins["admin_credentials"].Password != "secret-of-admin" {
		t.Errorf("told of the node here: %+v, %v", mine, err)
	}
	if theirs.Site != "site-2" || theirs.Running || theirs.Copy != nil || theirs.Problem == "" {
		t.Errorf("told of the other site's: %+v", theirs)
	}
}

// TestRegistrarTellsReplacedPasswords: those that a node was given last, and the spare
// ones.
func TestRegistrarTellsReplacedPasswords(t *testing.T) {
	s := newSite(t)
	db := offered(cluster("db1", "n1"))
	db.AdoptLogins()
	s.record(cluster("db1", "n1"))
	s.run()
	s.await("there is a copy", func() bool { return s.copyOf("n1", nil).Bare })
	s.record(db)
	s.wantPasswords("n1", db)
	if found := s.asked("first"); len(found) != 1 || found[0].Logins["rest_credentials"] != db.RESTCredentials || found[0].Logins["spare_admin_credentials"] != db.SpareAdmin {
		t.Errorf("told: %+v", found)
	}
}

// TestSealedCopiesAreToldAlone: where there is a key, no password is plain in etcd.
func TestSealedCopiesAreToldAlone(t *testing.T) {
	s := newSite(t)
	cfg := s.config()
	cfg.RecordKeys = recordKeys()
	s.record(cluster("db1", "n1"))
	s.start(cfg, s.client)
	s.await("there is a copy", func() bool { return s.copyOf("n1", cfg.RecordKeys).Instance == "db1" })
	s.asked("first")
	if told, _ := s.value(state.CopyKey(testBackend, "n1")); !strings.Contains(told, `"copy"`) || strings.Contains(told, "secret-of-") {
		t.Errorf("told: %s", told)
	}
}

// TestRegistrarEndsWhenTheSiteIsAnother: a recovered site needs registrars of its own.
func TestRegistrarEndsWhenTheSiteIsAnother(t *testing.T) {
	s := newSite(t)
	r, err := registrar.New(s.config(), s.client)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	s.await("the backend is registered", func() bool { return s.backend().ID != "" })
	s.put(state.SiteKey(), s.id)
	s.putJSON(state.RecoveryKey(), copies.Request{ID: "proof that it has looked"})
	s.await("it has looked", func() bool { v, _ := s.value(state.AnswerKey(testBackend)); return json.Valid([]byte(v)) })
	s.put(state.SiteKey(), "another")
	if err := <-ended; !errors.Is(err, registrar.ErrOtherSite) {
		t.Errorf("Run: %v", err)
	}
}
