// Package admin is the operator's API of a broker: what there is, how it is,
// and the switches by which an operator acts on it. It is JSON over HTTP under
// /admin, with logins of its own, apart from the platform's.
//
// NewHandler serves it for a Site, which the broker is; Client asks it, for the
// command line and for programs. No answer holds a secret.
package admin

import (
	"context"
	"encoding/json"
	"iter"
)

// Site is what the API shows and acts on. Its methods return an Error where the
// operator is to be told more than that something failed.
type Site interface {
	// Instances returns the instances that the filter lets through, by id.
	Instances(ctx context.Context, f Filter) ([]Instance, error)
	// Instance returns one instance.
	Instance(ctx context.Context, id string) (Instance, error)
	// Change updates an instance as a platform's user would, with the same body.
	// With dryRun it only returns the steps that it would take.
	Change(ctx context.Context, id string, change Change, dryRun bool) (Operation, error)
	// Recreate makes new, empty nodes for an instance whose data is lost, with
	// the same port, database and logins.
	Recreate(ctx context.Context, id string) (Operation, error)
	// Rotate replaces the passwords that a cluster has of its own: of superuser,
	// replication, admin and REST API. Asked for again meanwhile it is the same
	// operation.
	Rotate(ctx context.Context, id string) (Operation, error)
	// Move takes an instance to another site of the federation, with its port.
	Move(ctx context.Context, id, site string) (Operation, error)
	// StopForwarding ends that the port of an instance that has moved leads to where
	// it is, and forgets the instance here.
	StopForwarding(ctx context.Context, id string) (Operation, error)
	// Operations returns the last operation of every instance that the filter
	// lets through, those that run first.
	Operations(ctx context.Context, f Filter) ([]Operation, error)
	// Resume has a failed operation tried again from the step that failed.
	Resume(ctx context.Context, id string) (Operation, error)
	// Abandon ends an operation where it is.
	Abandon(ctx context.Context, id string) (Operation, error)
	// Backends returns every backend that is registered or has nodes.
	Backends(ctx context.Context) ([]Backend, error)
	// Backend returns one backend.
	Backend(ctx context.Context, id string) (Backend, error)
	// Cordon keeps new nodes and reads away from a backend, or lets them come
	// again. Done again it changes nothing.
	Cordon(ctx context.Context, id string, cordoned bool, act Act) (Backend, error)
	// Drain cordons a backend and moves its nodes away.
	Drain(ctx context.Context, id string, act Act) (Backend, error)
	// Routers returns every router that is registered, by id.
	Routers(ctx context.Context) ([]Router, error)
	// SwitchRouter breaks a router's circuit, or closes it again. What can not be
	// is refused with 409, and so is breaking the last one's without Act.Force.
	SwitchRouter(ctx context.Context, id string, off bool, act Act) (Router, error)
	// Replicas returns the nodes that do not lead, of one instance or, if that is
	// empty, of all; and leaders that are disabled.
	Replicas(ctx context.Context, instance string) ([]Replica, error)
	// SwitchReplica takes a replica, INSTANCE.NODE, out of read routing, or back.
	// What can not be is refused with 409, and so is disabling the last one
	// without Act.Force.
	SwitchReplica(ctx context.Context, id string, off bool, act Act) (Replica, error)
	// SiteCA tells of the authority of the servers' certificates.
	SiteCA(ctx context.Context) (SiteCA, error)
	// ReplaceSiteCA takes its replacement a step further: "rotate" has clients told
	// of a new one, "switch" has that sign, "retire" ends the trust in the old one.
	// A step that does not come next, or would cut somebody's trust, is refused
	// with 409.
	ReplaceSiteCA(ctx context.Context, step string) (SiteCA, error)
	// Events returns the events that the filter lets through, the oldest first.
	Events(ctx context.Context, f EventFilter) ([]Event, error)
	// FollowEvents goes on with those that come, until ctx or the broker ends.
	FollowEvents(ctx context.Context, f EventFilter) iter.Seq2[Event, error]
	// Top returns how clusters, routers and backends are: at most limit clusters,
	// those in trouble first. 0 is no limit.
	Top(ctx context.Context, limit int) (Top, error)
	// FollowTop goes on whenever that changes, until ctx or the broker ends.
	FollowTop(ctx context.Context, limit int) iter.Seq2[Top, error]
}

// Filter chooses instances. Empty fields let everything through.
type Filter struct {
	Plan    string
	Backend string
	// State is a state of operations, such as "in progress".
	State string
}

// Change is what is to become of an instance: what an update
// request of the OSB API says.
type Change struct {
	PlanID     string          `json:"plan_id,omitempty"`
	Parameters json.RawMessage `json:"parameters,omitempty"`
	// Version is the version of the image to upgrade to, as in the catalog's
	// maintenance_info.
	Version string `json:"version,omitempty"`
}
