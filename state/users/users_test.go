package users_test

import (
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/users"
)

const image = "postgresql-brokerpatroni"

// site is an etcd that asks for logins.
type site struct {
	testing.TB
	endpoints []string
	passwords map[string]state.Secret
}

func newSite(t testing.TB) site {
	t.Helper()
	s := site{TB: t, endpoints: fixtures.EtcdServer(t).Endpoints(), passwords: map[string]state.Secret{users.Root: "of-root"}}
	for _, u := range users.All(image) {
		s.passwords[u.Name] = state.Secret("of-" + u.Name)
	}
	client, err := state.Dial(s.endpoints)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := users.Install(t.Context(), client, users.All(image), s.passwords); err != nil {
		t.Fatal(err)
	}
	return s
}

// as returns a client that has logged in.
func (s site) as(name string) *clientv3.Client {
	s.Helper()
	client, err := state.Access{Endpoints: s.endpoints, Username: name, Password: s.passwords[name]}.Dial()
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { client.Close() })
	return client
}

func TestEachUserMayDoItsWorkAndNothingElse(t *testing.T) {
	s := newSite(t)
	announcement := state.AnnouncementKey(image, "host", "cf-1", 5432)
	for name, may := range map[string]struct{ write, noWrite, read, noRead []string }{
		"broker": {
			write: []string{
				state.ClusterKey("a"), state.InstanceKey("a"), state.BindingKey("a", "b"), state.AllocationKey("a"), state.NextPortKey(),
				state.PlanCountKey("p"), state.CordonKey("h"), state.DrainKey("h"), state.ElectionKey("broker"),
				state.RouterKey("10.0.0.1", 7), state.DatasourceKey("a", "n"), state.SwitchedKey(state.Switch{Kind: state.RouterSwitch, Name: "r"}), state.EventKey("e"), state.ToldKey("a"),
				state.SiteCAKey(), state.CertificateKey("a", "n"),
			},
			noWrite: []string{announcement, state.BackendKey("h"), state.NodeStatusKey("n"), state.SiteKey(), state.ElectionKey("registry")},
		},
		"registrar": {
			write:   []string{state.LeaderKey("a"), state.FenceKey("a"), announcement, state.AnnouncementKey("shop", "host", "web", 80), state.BackendKey("h"), state.NodeStatusKey("n"), state.SiteKey(), state.ElectionKey("registry")},
			noWrite: []string{"/federation/self", state.AllocationKey("a"), state.NextPortKey(), state.PortKey(30000), state.InstanceKey("a"), state.BindingKey("a", "b"), state.CordonKey("h"), state.ElectionKey("broker"), state.PlanCountKey("p"), state.EventKey("e"), state.ToldKey("a"), state.SiteCAKey(), state.CertificateKey("a", "n")},
			read:    []string{state.CertificateKey("a", "n")},
			noRead:  []string{state.SiteCAKey()},
		},
		"router": {
			write:   []string{state.RouterKey("10.0.0.1", 7), state.RouterRecordKey("r"), state.RouterSessionKey("r"), state.UnboundKey(30000, "r")},
			noWrite: []string{state.LeaderKey("a"), state.ClusterKey("a"), state.AllocationKey("a"), state.PortKey(30000), state.InstanceKey("a"), state.CordonKey("h"), announcement, state.BackendKey("h"), state.ElectionKey("broker"), state.DatasourceKey("a", "n"), state.SwitchedKey(state.Switch{Kind: state.RouterSwitch, Name: "r"}), state.EventKey("e"), state.ToldKey("a")},
			read:    []string{state.LeaderKey("a"), state.MemberKey("a", "n"), state.AllocationKey("a")},
			noRead:  []string{state.ElectionKey("broker"), state.SiteCAKey(), state.CertificateKey("a", "n")},
		},
		"node": {
			write:   []string{state.LeaderKey("a"), state.MemberKey("a", "n")},
			noWrite: []string{announcement, state.AllocationKey("a"), state.InstanceKey("a"), state.BackendKey("h"), state.RouterKey("10.0.0.1", 7), state.EventKey("e"), state.ToldKey("a")},
			read:    []string{announcement},
			noRead:  []string{state.InstanceKey("a"), state.BindingKey("a", "b"), state.AllocationKey("a"), state.BackendKey("h"), state.SiteCAKey(), state.CertificateKey("a", "n")},
		},
		"federation": {
			write:   []string{"/federation/self", state.AllocationKey("a")},
			noWrite: []string{state.ClusterKey("a"), state.SiteCAKey(), state.CertificateKey("a", "n")},
			noRead:  []string{state.SiteCAKey(), state.CertificateKey("a", "n")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := s.as(name)
			for _, key := range append(may.write, may.read...) {
				if _, err := client.Get(t.Context(), key); err != nil {
					t.Errorf("reading %s: %v", key, err)
				}
			}
			for _, key := range may.write {
				if _, err := client.Put(t.Context(), key, "x"); err != nil {
					t.Errorf("writing %s: %v", key, err)
				}
			}
			for _, key := range may.noWrite {
				_, errPut := client.Put(t.Context(), key, "x")
				_, errDelete := client.Delete(t.Context(), key)
				wantDenied(t, "writing "+key, errPut)
				wantDenied(t, "deleting "+key, errDelete)
			}
			for _, key := range may.noRead {
				_, err := client.Get(t.Context(), key)
				wantDenied(t, "reading "+key, err)
			}
			_, err := client.UserChangePassword(t.Context(), users.Root, "mine")
			wantDenied(t, "changing root's password", err)
		})
	}
}

// A broker throws the switch of a router, whose lease has keys that the broker may
// not write.
func TestABrokerThrowsTheSwitchOfARouter(t *testing.T) {
	s := newSite(t)
	router, broker := s.as("router"), s.as("broker")
	lease, err := router.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	key := state.RouterKey("10.0.0.1", 7)
	if _, err := router.Put(t.Context(), key, "", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	foreign := state.BackendKey("h")
	if _, err := s.as(users.Root).Put(t.Context(), foreign, "", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	schema := state.NewSchema()
	state.Register(schema, state.RouterPattern, state.Text)
	engine, stop := fixtures.RunEngine(t, state.EngineConfig{Client: broker, Schema: schema, Name: "broker", SessionTTL: time.Minute})
	defer stop()
	if err := engine.Do(t.Context(), state.Group{Name: "disable", Apply: func(tx *state.Tx) error {
		tx.Rewrite(key, []byte(state.Disabled))
		return nil
	}}); err != nil {
		t.Error(err)
	}
}

func wantDenied(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Errorf("%s: got %v, want it denied", what, err)
	}
}

func TestNobodyComesInWithoutALogin(t *testing.T) {
	s := newSite(t)
	stranger, err := state.Dial(s.endpoints)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.Get(t.Context(), state.ClusterKey("a")); !errors.Is(err, rpctypes.ErrUserEmpty) {
		t.Errorf("reading without a login: got %v", err)
	}
	_, err = state.Access{Endpoints: s.endpoints, Username: "broker", Password: "guessed"}.Dial()
	if !errors.Is(err, rpctypes.ErrAuthFailed) {
		t.Errorf("a wrong password: got %v", err)
	}
}

// What an older version granted, and what somebody added, is taken back.
func TestInstallAgainMakesRightsAsTheyShouldBe(t *testing.T) {
	s := newSite(t)
	root := s.as(users.Root)
	if _, err := root.RoleGrantPermission(t.Context(), "router", "/plans/", "/plans0", clientv3.PermissionType(clientv3.PermReadWrite)); err != nil {
		t.Fatal(err)
	}
	s.passwords["router"] = "another"
	if err := users.Install(t.Context(), root, users.All(image), s.passwords); err != nil {
		t.Fatal(err)
	}
	router := s.as("router")
	_, err := router.Put(t.Context(), state.PlanCountKey("p"), "1")
	wantDenied(t, "writing what was granted by hand", err)
	if _, err := router.Put(t.Context(), state.RouterKey("10.0.0.1", 7), ""); err != nil {
		t.Error(err)
	}
}

func TestInstallNeedsEveryPassword(t *testing.T) {
	client := fixtures.Etcd(t)
	err := users.Install(t.Context(), client, users.All(image), map[string]state.Secret{"broker": "x"})
	if err == nil {
		t.Fatal("users without passwords were made")
	}
	if _, err := client.Get(t.Context(), state.SiteKey()); err != nil {
		t.Errorf("etcd asks for logins already: %v", err)
	}
}
