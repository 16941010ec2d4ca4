package registry

import (
	"encoding/json"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// Tables are what the registry looks at in etcd. Like those they are made of,
// they may be looked at only while the engine holds the picture still.
type Tables struct {
	Definitions *state.Table[DefinitionRecord]
	Deployments *state.Table[DeploymentRecord]
	Instances   *state.Table[InstanceRecord]
	Builds      *state.Table[Build]
	Backends    *state.Table[state.Backend]
	Cordons     *state.Table[string]
	hosts       *state.Table[state.Host]

	// Of databases everything is kept as it came and read when it is asked for:
	// Patroni's many writes must cost nothing here.
	clusters      *state.Table[document[state.Cluster]]
	members       *state.Table[document[patroni.Member]]
	statuses      *state.Table[document[state.NodeStatus]]
	leaders       *state.Table[string]
	announcements *state.Table[string]
}

// NewTables adds the registry's tables to the schema. image is the name of the
// node image in announcements.
func NewTables(s *state.Schema, image string) *Tables {
	s.Watch(state.InstanceURLPrefix)
	return &Tables{
		Definitions:   state.Register(s, state.DefinitionPattern, state.JSON[DefinitionRecord]),
		Deployments:   state.Register(s, state.DeploymentPattern, state.JSON[DeploymentRecord]),
		Instances:     state.Register(s, state.RegisteredPattern, state.JSON[InstanceRecord]),
		Builds:        state.Register(s, state.BuildPattern, state.JSON[Build]),
		Backends:      state.Register(s, state.BackendPattern, state.JSON[state.Backend]),
		Cordons:       state.Register(s, state.CordonPattern, state.Text),
		hosts:         state.Register(s, state.HostPattern, state.JSON[state.Host]),
		clusters:      state.Register(s, state.ClusterPattern, unread[state.Cluster]),
		members:       state.Register(s, state.MemberPattern, unread[patroni.Member]),
		statuses:      state.Register(s, state.NodeStatusPattern, unread[state.NodeStatus]),
		leaders:       patroni.Leaders(s),
		announcements: state.Register(s, state.AnnouncementPattern(image), state.Text),
	}
}

// document is a JSON value that is decoded when it is read.
type document[T any] []byte

func unread[T any](b []byte) (document[T], error) { return b, nil }

// read decodes the document. One that can not be read is empty: whoever looks
// after it reports that.
func (d document[T]) read() T {
	var v T
	_ = json.Unmarshal(d, &v)
	return v
}
