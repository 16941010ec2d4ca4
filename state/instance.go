package state

import (
	"encoding/json"
	"time"
)

// Instance is the OSB side of a service instance: what the platform asked
// for, and the journal of what is being done about it.
type Instance struct {
	Version          int    `json:"version"`
	InstanceID       string `json:"instance_id"`
	ServiceID        string `json:"service_id"`
	PlanID           string `json:"plan_id"`
	OrganizationGUID string `json:"organization_guid"`
	SpaceGUID        string `json:"space_guid"`
	// Parameters and Context are the platform's, as it sent them.
	Parameters json.RawMessage `json:"parameters,omitempty"`
	Context    json.RawMessage `json:"context,omitempty"`
	// Operation is the last one; there is never more than one at a time.
	Operation Operation `json:"operation"`
	// MovedTo is the site that the instance has moved to. What is left here is
	// this record, and the port that is forwarded.
	MovedTo string `json:"moved_to,omitempty"`
	// History are the operations before it that are still answered for, the
	// oldest first.
	History []Operation `json:"history,omitempty"`
}

// MaxHistory bounds Instance.History.
const MaxHistory = 50

// Begin makes op the instance's operation and keeps the one before it in
// History, without its plan. One that op cuts short has failed.
func (in *Instance) Begin(op Operation) {
	before := in.Operation
	if before.Running() {
		before.State, before.Updated = Failed, op.Started
		before.Description = "ended by the operation " + string(op.Type)
	}
	before.Plan, before.Done, before.Change = nil, 0, nil
	if before.ID != "" {
		in.History = append(in.History, before)
	}
	in.History = in.History[max(0, len(in.History)-MaxHistory):]
	in.Operation = op
}

// Find returns the operation of that id, the present one or one of History.
func (in *Instance) Find(id string) (Operation, bool) {
	if in.Operation.ID == id {
		return in.Operation, true
	}
	for _, op := range in.History {
		if op.ID == id {
			return op, true
		}
	}
	return Operation{}, false
}

// OperationType is what an operation does to its instance.
type OperationType string

// The types of operations.
const (
	Provision   OperationType = "provision"
	Deprovision OperationType = "deprovision"
	Update      OperationType = "update"
	// Recreate makes an instance anew whose data is lost.
	Recreate OperationType = "recreate"
	// Move takes an instance to another site, where it is an Arrival.
	Move    OperationType = "move"
	Arrival OperationType = "arrival"
	// Rotate replaces the passwords that the cluster has of its own.
	Rotate OperationType = "rotate"
)

// OperationState is where an operation stands, in the words of the OSB API.
type OperationState string

// The states of operations.
const (
	InProgress OperationState = "in progress"
	Succeeded  OperationState = "succeeded"
	Failed     OperationState = "failed"
)

// Operation is the journal of one operation on an instance. Whoever drives it
// does Step again until it is done, writes the next Step, and so on: a step
// may be repeated, an operation is never lost.
type Operation struct {
	ID    string         `json:"id"`
	Type  OperationType  `json:"type"`
	State OperationState `json:"state"`
	// Step is the name of the step that is being done.
	Step string `json:"step"`
	// Plan is what the operation does beside its named steps, in order; the
	// first Done of its steps are over. StepSince is when the present one began.
	Plan      []Step    `json:"plan,omitempty"`
	Done      int       `json:"done,omitempty"`
	StepSince time.Time `json:"step_since,omitzero"`
	// Site is the other site of a Move or an Arrival.
	Site string `json:"site,omitempty"`
	// Change is what an update is to end in.
	Change *Change `json:"change,omitempty"`
	// Description tells the platform's user how far it is, or why it failed.
	Description string `json:"description"`
	// Failure is why the operation fails. It is set as soon as that is decided,
	// while what the operation made is still being taken back.
	Failure string `json:"failure,omitempty"`
	// InstanceUsable and UpdateRepeatable tell, after a failure, whether the
	// instance still serves and whether the same update may be asked for again.
	// nil: nothing is said.
	InstanceUsable   *bool     `json:"instance_usable,omitempty"`
	UpdateRepeatable *bool     `json:"update_repeatable,omitempty"`
	Started          time.Time `json:"started"`
	Updated          time.Time `json:"updated"`
}

// Running reports whether the operation has not ended.
func (o Operation) Running() bool { return o.State == InProgress }

// BindingState is where a binding stands.
type BindingState string

// The states of a binding.
const (
	BindingCreating BindingState = "creating"
	BindingReady    BindingState = "ready"
	BindingDeleting BindingState = "deleting"
	// BindingExpiring: its time is over, its login is being ended.
	BindingExpiring BindingState = "expiring"
	// BindingExpired: the login is gone, the record waits to be deleted.
	BindingExpired BindingState = "expired"
)

// AtRest reports whether nothing is to be done about a binding in this state.
func (s BindingState) AtRest() bool { return s == BindingReady || s == BindingExpired }

// Binding is one application's own login to an instance.
type Binding struct {
	Version    int             `json:"version"`
	BindingID  string          `json:"binding_id"`
	InstanceID string          `json:"instance_id"`
	ServiceID  string          `json:"service_id"`
	PlanID     string          `json:"plan_id"`
	AppGUID    string          `json:"app_guid,omitempty"`
	Parameters json.RawMessage `json:"parameters,omitempty"`
	Context    json.RawMessage `json:"context,omitempty"`
	// Role is the name of the login in the database.
	Role string `json:"role"`
	// Sealed is the login's password, closed with one of the brokers' keys, and
	// SealedBy that key's id.
	Sealed   []byte       `json:"sealed"`
	SealedBy string       `json:"sealed_by,omitempty"`
	State    BindingState `json:"state"`
	Created  time.Time    `json:"created"`
	// Predecessor is the binding that this one was made to replace.
	Predecessor string `json:"predecessor,omitempty"`
	// ReadOnly says that the login can only read.
	ReadOnly bool `json:"read_only,omitempty"`
	// Expires is when the login ends by itself; zero: never.
	Expires time.Time `json:"expires,omitzero"`
}

// Expired reports whether the binding's time was over at now.
func (b Binding) Expired(now time.Time) bool { return !b.Expires.IsZero() && !now.Before(b.Expires) }
