package patroni

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"strings"

	"github.com/pgpatron/pgpatron/state"
)

// Member is what a member of a cluster tells of itself in etcd. Fields that
// this program does not know are ignored, and fields that a member leaves out
// are zero: its age is not ours to choose.
type Member struct {
	// ConnURL and APIURL are where PostgreSQL and the REST API are reached.
	ConnURL string `json:"conn_url"`
	APIURL  string `json:"api_url"`
	// Role is "primary" ("master" before Patroni 4), "replica",
	// "standby_leader", "demoted", "promoted" or "uninitialized".
	Role string `json:"role"`
	// State is "running", "starting", "creating replica", "stopped" and the
	// like: PostgreSQL's, not Patroni's.
	State string `json:"state"`
	// Version is Patroni's.
	Version string `json:"version"`
	// Timeline and XlogLocation are set while PostgreSQL answers.
	Timeline     int64 `json:"timeline"`
	XlogLocation int64 `json:"xlog_location"`
	// ReplicationState is "streaming" on a replica that follows its leader.
	ReplicationState string `json:"replication_state"`
	// PendingRestart says that settings wait for a restart of PostgreSQL.
	PendingRestart bool `json:"pending_restart"`
	// Pause says that Patroni leaves the cluster alone.
	Pause bool `json:"pause"`
	// CheckpointAfterPromote is there, and false, only on a leader that has not
	// finished its first checkpoint: see PastCheckpoint.
	CheckpointAfterPromote *bool `json:"checkpoint_after_promote"`
	// Tags are the member's own settings, such as nofailover.
	Tags map[string]any `json:"tags"`
}

// stateRunning is a Member's State once PostgreSQL answers.
const stateRunning = "running"

// IsPrimary reports whether the member says that it takes writes. What it says
// may be old: the leader key decides.
func (m Member) IsPrimary() bool { return m.Role == "primary" || m.Role == "master" }

// IsRunning reports whether the member's PostgreSQL answers.
func (m Member) IsRunning() bool { return m.State == stateRunning }

// IsStreaming reports whether the member is a replica that follows its leader.
func (m Member) IsStreaming() bool {
	return m.IsRunning() && !m.IsPrimary() && m.ReplicationState == "streaming"
}

// PastCheckpoint reports whether a leader has made the checkpoint that follows
// its promotion. Until then nobody can rewind to it.
func (m Member) PastCheckpoint() bool {
	return m.CheckpointAfterPromote == nil || *m.CheckpointAfterPromote
}

// Addr returns the host:port of the member's PostgreSQL.
func (m Member) Addr() (string, error) {
	u, err := url.Parse(m.ConnURL)
	if err != nil || u.Hostname() == "" {
		return "", fmt.Errorf("member has no usable conn_url: %q", m.ConnURL)
	}
	port := u.Port()
	if port == "" {
		port = "5432"
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// Sync is who may take over in a synchronous cluster without losing what was
// acknowledged: Leader or one of Standbys. Both are empty while nobody may.
type Sync struct {
	Leader   string
	Standbys []string
}

// Names reports whether the member is a synchronous standby. Patroni compares
// these names without regard to case, because PostgreSQL does.
func (s Sync) Names(member string) bool {
	for _, name := range s.Standbys {
		if strings.EqualFold(name, member) {
			return true
		}
	}
	return false
}

// UnmarshalJSON reads the value of the sync key, in which the standbys are one
// string with commas, or null.
func (s *Sync) UnmarshalJSON(b []byte) error {
	var raw struct {
		Leader  string `json:"leader"`
		Standby string `json:"sync_standby"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*s = Sync{Leader: raw.Leader}
	for name := range strings.SplitSeq(raw.Standby, ",") {
		if name = strings.TrimSpace(name); name != "" {
			s.Standbys = append(s.Standbys, name)
		}
	}
	return nil
}

// Leaders adds the table of leader keys to the schema: by instance id, the
// name of the member that leads.
func Leaders(s *state.Schema) *state.Table[string] {
	return state.Register(s, state.LeaderPattern, state.Text)
}

// Members adds the table of member keys: by instance id and member name. Each
// member writes its key every few seconds; that its WAL has moved on is in the
// table, but is no reason for a Tick.
func Members(s *state.Schema) *state.Table[Member] {
	return state.Register(s, state.MemberPattern, state.JSON[Member]).Quiet(Member.sameButPosition)
}

// sameButPosition reports whether a member tells the same as before, but for
// the position of its WAL.
func (m Member) sameButPosition(now Member) bool {
	return m.ConnURL == now.ConnURL && m.APIURL == now.APIURL && m.Role == now.Role && m.State == now.State &&
		m.Version == now.Version && m.Timeline == now.Timeline && m.ReplicationState == now.ReplicationState &&
		m.PendingRestart == now.PendingRestart && m.Pause == now.Pause && m.PastCheckpoint() == now.PastCheckpoint() &&
		(m.CheckpointAfterPromote == nil) == (now.CheckpointAfterPromote == nil) &&
		(len(m.Tags)+len(now.Tags) == 0 || reflect.DeepEqual(m.Tags, now.Tags))
}

// Syncs adds the table of sync keys, by instance id. Only synchronous clusters
// have one.
func Syncs(s *state.Schema) *state.Table[Sync] {
	return state.Register(s, state.SyncPattern, state.JSON[Sync])
}
