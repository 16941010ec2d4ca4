package state

import "encoding/json"

// StepKind is what a step of a plan does.
type StepKind string

// The kinds of steps. Each may be done again, whatever became of it before.
const (
	// AddNode puts a new node into the cluster's record.
	AddNode StepKind = "add node"
	// AwaitNode waits until a new node has all data and follows the leader.
	AwaitNode StepKind = "await node"
	// ReshapeNode has a node's container made anew from Spec and waits until it
	// is a member again.
	ReshapeNode StepKind = "reshape node"
	// RestartNode restarts PostgreSQL on a node for settings that ask for it.
	RestartNode StepKind = "restart node"
	// HandOver takes the leadership from a node, if it has it.
	HandOver StepKind = "hand over"
	// RemoveNode asks for the removal of a node that does not lead.
	RemoveNode StepKind = "remove node"
	// ReleaseNode waits until container and volume of a removed node are gone,
	// and forgets it.
	ReleaseNode StepKind = "release node"
	// Configure makes Synchronous and Settings hold in the whole cluster.
	Configure StepKind = "configure"
	// ChangeExtensions makes Extensions those that the database has.
	ChangeExtensions StepKind = "change extensions"
	// ProveWrite sees that a write through the public port works.
	ProveWrite StepKind = "prove write"
	// OfferPasswords makes new passwords and has every node know them.
	OfferPasswords StepKind = "offer passwords"
	// AdoptPasswords has the new passwords hold, and waits until they do.
	AdoptPasswords StepKind = "adopt passwords"
	// RetirePasswords has everybody forget the others.
	RetirePasswords StepKind = "retire passwords"
)

// StepKinds are all of them: those of operations that need no other site.
var StepKinds = []StepKind{
	AddNode, AwaitNode, ReshapeNode, RestartNode, HandOver, RemoveNode, ReleaseNode, Configure, ChangeExtensions, ProveWrite,
	OfferPasswords, AdoptPasswords, RetirePasswords,
}

// The kinds of steps by which an instance moves to another site, at its home.
const (
	// AskSite waits until the other site says that the instance may come.
	AskSite StepKind = "ask site"
	// OfferCopy hands over the records and waits until the copy follows.
	OfferCopy StepKind = "offer copy"
	// FreezeHome ends all writing and waits until the copy has everything.
	FreezeHome StepKind = "freeze home"
	// DecideMove waits for the federation's decision: there is no way back after it.
	DecideMove StepKind = "decide move"
	// AwaitArrival forwards the public port and waits until the other site serves.
	AwaitArrival StepKind = "await arrival"
	// ClearHome removes the nodes.
	ClearHome StepKind = "clear home"
	// ThawHome lets the home write again, instead of all that.
	ThawHome StepKind = "thaw home"
)

// And at the other site.
const (
	// AwaitCopy waits until the nodes have all data and follow the home.
	AwaitCopy StepKind = "await copy"
	// CatchUp waits until the copy has what was written last, and for the decision.
	CatchUp StepKind = "catch up"
	// PromoteCopy makes the copy a cluster of its own.
	PromoteCopy StepKind = "promote copy"
	// OpenCopy lets sessions in again and takes the bindings over.
	OpenCopy StepKind = "open copy"
)

// Step is one step of an operation's plan: small, and all that it needs to know
// stands in it.
type Step struct {
	Kind StepKind `json:"kind"`
	// Text says in a sentence what the step does.
	Text string `json:"text"`
	// Node and Backend say which node, and where it is.
	Node    string `json:"node_id,omitempty"`
	Backend string `json:"backend_id,omitempty"`
	// Spec is what the node is to be made from.
	Spec *NodeSpec `json:"spec,omitempty"`
	// Synchronous and Settings belong to Configure, Settings to RestartNode, too.
	// Reset names the settings that get their defaults back.
	Synchronous bool              `json:"synchronous,omitempty"`
	Settings    map[string]string `json:"settings,omitempty"`
	Reset       []string          `json:"reset,omitempty"`
	Extensions  []string          `json:"extensions,omitempty"`
	// Edition is the cluster's LoginEdition that a step about passwords leads to.
	Edition int `json:"edition,omitempty"`
}

// Change is what an update turns its instance into when it succeeds.
type Change struct {
	PlanID     string          `json:"plan_id"`
	Parameters json.RawMessage `json:"parameters,omitempty"`
	// Spec is what new nodes are made from.
	Spec NodeSpec `json:"spec"`
	// Request is what was asked for: who asks for the same again is told of the
	// same operation.
	Request json.RawMessage `json:"request"`
}

// Current returns the step that the operation's plan is at.
func (o Operation) Current() (Step, bool) {
	if o.Done >= len(o.Plan) {
		return Step{}, false
	}
	return o.Plan[o.Done], true
}
