package patroni_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.yaml.in/yaml/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// loginsOf returns a node's own logins, or others of its users.
func loginsOf(set int, n patroni.NodeConfig, password string) state.Logins {
	l := state.Logins{Set: set, Superuser: n.Superuser, Replication: n.Replication, Admin: n.Admin, REST: n.REST}
	if password == "" {
		return l
	}
	for _, login := range []*state.Credentials{&l.Superuser, &l.Replication, &l.Admin, &l.REST} {
		login.Password = state.Secret(password + "-of-" + login.Username)
	}
	return l
}

// configured is what patroni.yml says of passwords.
type configured struct {
	RESTAPI struct {
		Authentication struct{ Password string }
		Also           string
	}
	PostgreSQL struct {
		Authentication struct{ Superuser, Replication, Rewind struct{ Password string } }
	} `yaml:"postgresql"`
	Tags map[string]string
}

func (p *nodeProcess) configured(t *testing.T) configured {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.run, "patroni.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var c configured
	if err := yaml.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func (p *nodeProcess) give(t *testing.T, passwords patroni.Passwords) {
	t.Helper()
	content, err := passwords.Encode()
	if err != nil {
		t.Fatal(err)
	}
	file := p.run + "-passwords.json"
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o400); err != nil {
		t.Fatal(err)
	}
}

// A node takes other passwords when it is given them: those of the REST API at once,
// and for replication those that the leader's server has.
func TestNodeIsGivenOtherPasswords(t *testing.T) {
	t.Parallel()
	etcd := fixtures.Etcd(t)
	node := testNode()
	old, fresh := loginsOf(0, node, ""), loginsOf(1, node, "new")
	p := startNode(t, etcd)
	announce(t, etcd, 5432, "172.17.0.1:20000")
	announce(t, etcd, 8008, "172.17.0.1:20001")
	p.await(t, "started")
	c := p.configured(t)
	if edition := c.Tags["pgpatron_passwords"]; edition != "0" || c.RESTAPI.Also != "" || c.RESTAPI.Authentication.Password != old.REST.Password.Reveal() {
		t.Errorf("at first: %+v", c)
	}

	p.give(t, patroni.Passwords{Edition: 1, Logins: old, Spare: fresh})
	p.send(t, syscall.SIGHUP)
	p.await(t, "HUP")
	c = p.configured(t)
	if c.Tags["pgpatron_passwords"] != "1" || c.RESTAPI.Also != "patroni:new-of-patroni" || c.PostgreSQL.Authentication.Replication.Password != old.Replication.Password.Reveal() {
		t.Errorf("offered: %+v", c)
	}
	put(t, etcd, state.LeaderKey(node.InstanceID), "other")
	put(t, etcd, state.MemberKey(node.InstanceID, "other"), `{"role":"primary","tags":{"pgpatron_passwords":"2","pgpatron_passwords_set":"1"}}`)
	p.await(t, "HUP")
	if c = p.configured(t); c.PostgreSQL.Authentication.Replication.Password != fresh.Replication.Password.Reveal() ||
		c.PostgreSQL.Authentication.Rewind.Password != fresh.Replication.Password.Reveal() {
		t.Errorf("the leader has others: %+v", c)
	}

	p.give(t, patroni.Passwords{Edition: 2, Logins: fresh, Spare: old})
	put(t, etcd, state.MemberKey(node.InstanceID, "other"), `{"role":"primary","tags":{"pgpatron_passwords":"1","pgpatron_passwords_set":"0"}}`)
	p.await(t, "HUP")
	p.send(t, syscall.SIGHUP)
	p.await(t, "HUP")
	c = p.configured(t)
	if c.RESTAPI.Authentication.Password != "new-of-patroni" || c.PostgreSQL.Authentication.Superuser.Password != "new-of-postgres" ||
		c.PostgreSQL.Authentication.Replication.Password != old.Replication.Password.Reveal() {
		t.Errorf("adopted, and the leader has the old ones: %+v", c)
	}
	p.give(t, patroni.Passwords{Edition: 3, Logins: fresh})
	p.send(t, syscall.SIGHUP)
	p.await(t, "HUP")
	if c = p.configured(t); c.RESTAPI.Also != "" || c.PostgreSQL.Authentication.Replication.Password != "new-of-replicator" {
		t.Errorf("retired: %+v", c)
	}
	p.send(t, syscall.SIGTERM)
	p.wantExit(t, 0)
}

// A server is given other passwords, once, also where transactions only read; what
// it has already stays as it is.
func TestSettle(t *testing.T) {
	s := newRolesServer(t)
	server, err := pgx.ParseConfig(s.url)
	if err != nil {
		t.Fatal(err)
	}
	server.RuntimeParams["default_transaction_read_only"] = "on"
	l := loginsOf(1, s.node, "new")
	l.Superuser = state.Credentials{Username: "test_super", Password: "new-of-super"}
	if settled, err := patroni.Settle(t.Context(), server, l); settled || err == nil || !strings.Contains(err.Error(), "test_super") {
		t.Errorf("a role is missing: got %v, %v", settled, err)
	}
	conn, err := pgx.Connect(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	mustExec(t, conn, "CREATE ROLE test_super LOGIN PASSWORD 'old'")
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), "DROP ROLE test_super"); err != nil {
			t.Error(err)
		}
	})
	verifiers := func() (all string) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), "SELECT string_agg(rolpassword, ' ' ORDER BY rolname) FROM pg_authid WHERE rolname LIKE 'test%'").Scan(&all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	if settled, err := patroni.Settle(t.Context(), server, l); !settled || err != nil {
		t.Fatalf("got %v, %v", settled, err)
	}
	for _, login := range []state.Credentials{l.Superuser, l.Replication, l.Admin} {
		if _, err := s.connect(t, login.Username, login.Password.Reveal(), s.node.Database); err != nil {
			t.Errorf("the new password of %s: %v", login.Username, err)
		}
	}
	if _, err := s.connect(t, s.node.Admin.Username, s.node.Admin.Password.Reveal(), s.node.Database); err == nil {
		t.Error("the old password of the admin is taken")
	}
	before := verifiers()
	if settled, err := patroni.Settle(t.Context(), server, l); !settled || err != nil || verifiers() != before {
		t.Errorf("again: got %v, %v, and verifiers that differ: %t", settled, err, verifiers() != before)
	}
}

func TestVerifies(t *testing.T) {
	t.Parallel()
	verifier, err := patroni.SCRAMVerifier("pencil")
	if err != nil {
		t.Fatal(err)
	}
	if !patroni.Verifies(verifier, "pencil") {
		t.Error("a verifier is not that of its password")
	}
	for name, c := range map[string][2]string{
		"another password": {verifier, "pencils"}, "none": {"", "pencil"}, "MD5": {"md5d0e1", "pencil"},
		"cut short": {verifier[:len(verifier)-1], "pencil"}, "no salt": {strings.Replace(verifier, "4096:", "4096:!", 1), "pencil"},
	} {
		if patroni.Verifies(c[0], c[1]) {
			t.Errorf("%s: a verifier is that of %q", name, c[1])
		}
	}
}

// A PasswordsFile that is spoilt is refused, and nothing in it is told.
func TestReadPasswordsRefuses(t *testing.T) {
	t.Parallel()
	node := testNode()
	spoilt := loginsOf(1, node, "secret")
	spoilt.Admin.Password = "with a secret blank"
	content, err := patroni.Passwords{Edition: 1, Logins: spoilt}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"cut short": string(content[:20]), "empty": "{}", "blank": string(content)} {
		file := filepath.Join(t.TempDir(), "passwords.json")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := patroni.ReadPasswords(file, node); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
