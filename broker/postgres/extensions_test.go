package postgres_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/broker/catalog"
)

// extensions returns those of the application's database.
func (i *instance) extensions() string {
	i.t.Helper()
	var names []string
	conn := i.bind(named("reader"))
	if err := conn.QueryRow(i.t.Context(), "SELECT array_agg(extname::text ORDER BY 1) FROM pg_extension WHERE extname <> 'plpgsql'").Scan(&names); err != nil {
		i.t.Fatal(err)
	}
	return strings.Join(names, " ")
}

// Every extension that users are offered can be made without a superuser, and
// dropped again.
func TestDefaultExtensionsAreTrusted(t *testing.T) {
	i := newInstance(t)
	all := catalog.DefaultExtensions()
	slices.Sort(all)
	for range 2 {
		if err := i.database.ChangeExtensions(t.Context(), i.cluster, all, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := i.extensions(); got != strings.Join(all, " ") {
		t.Errorf("the database has %s", got)
	}
	if err := i.database.ChangeExtensions(t.Context(), i.cluster, nil, all); err != nil {
		t.Fatal(err)
	}
	if got := i.extensions(); got != "" {
		t.Errorf("the database still has %s", got)
	}
}

// An extension in use is not dropped, the reason is PostgreSQL's, and nothing
// else of the change is made.
func TestExtensionInUseStays(t *testing.T) {
	i := newInstance(t)
	if err := i.database.ChangeExtensions(t.Context(), i.cluster, []string{"hstore"}, nil); err != nil {
		t.Fatal(err)
	}
	i.must(i.bind(named("writer")), "CREATE TABLE things (h hstore)")
	err := i.database.ChangeExtensions(t.Context(), i.cluster, []string{"citext"}, []string{"hstore"})
	if err == nil || !strings.Contains(err.Error(), "other objects depend on it") || !strings.Contains(err.Error(), "column h of table public.things") {
		t.Errorf("got %v", err)
	}
	if got := i.extensions(); got != "hstore" {
		t.Errorf("the database has %s", got)
	}
}

func TestExtensionThatIsNotThere(t *testing.T) {
	i := newInstance(t)
	err := i.database.ChangeExtensions(t.Context(), i.cluster, []string{"no such thing"}, nil)
	if err == nil || !strings.Contains(err.Error(), `"no such thing"`) {
		t.Errorf("got %v", err)
	}
}

func TestSettingsOfANode(t *testing.T) {
	i := newInstance(t)
	address := strings.TrimPrefix(i.url[strings.LastIndexByte(i.url, '@')+1:], "/")
	address, _, _ = strings.Cut(address, "/")
	got, err := i.database.Settings(t.Context(), i.cluster, address, []string{"max_connections", "nonsense"})
	if err != nil || len(got) != 1 || got["max_connections"] != "100" {
		t.Errorf("got %v, %v", got, err)
	}
}
