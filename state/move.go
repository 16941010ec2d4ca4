package state

// MoveStage is how far one side is with the move of an instance from one site
// to another.
type MoveStage string

// The stages of the home, which gives the instance away.
const (
	// MoveAsked asks whether the instance may come.
	MoveAsked MoveStage = "asked"
	// MoveOffered hands over the records: the other site makes a copy that follows.
	MoveOffered MoveStage = "offered"
	// MoveFrozen says that nothing is written any more after LSN.
	MoveFrozen MoveStage = "frozen"
	// MoveReady allows the federation to decide.
	MoveReady MoveStage = "ready"
	// MoveWithdrawn ends a move that was not decided.
	MoveWithdrawn MoveStage = "withdrawn"
	// MoveClosed says that nothing is left to be told.
	MoveClosed MoveStage = "closed"
)

// The stages of the site that the instance comes to.
const (
	// MoveWelcome answers MoveAsked with the key that the records are sealed to.
	MoveWelcome MoveStage = "welcome"
	// MoveCopying says that the copy is being made.
	MoveCopying MoveStage = "copying"
	// MoveFollowing says that the copy follows the home.
	MoveFollowing MoveStage = "following"
	// MoveLevel says that the copy has all up to LSN.
	MoveLevel MoveStage = "level"
	// MoveServing says that a write through the public port has worked.
	MoveServing MoveStage = "serving"
	// MoveRefused says that the instance can not come, and that nothing is left of
	// it there.
	MoveRefused MoveStage = "refused"
)

// MoveNote is what one site says about the move of an instance. Its broker
// writes it, the federation carries it to the other site.
type MoveNote struct {
	// Move is the id of the operation, at both sites.
	Move     string `json:"move"`
	Instance string `json:"instance_id"`
	From     string `json:"from"`
	To       string `json:"to"`
	// Author is the site that says this: From or To. Seq counts what it has said.
	Author string    `json:"author"`
	Seq    int       `json:"seq"`
	Stage  MoveStage `json:"stage"`
	// Why is the reason of MoveWithdrawn or MoveRefused.
	Why string `json:"why,omitempty"`
	// Address is the host:port at which the author's routers serve the instance.
	Address string `json:"address,omitempty"`
	// Key is the public key of the brokers of To, and Parcel what only they can
	// open.
	Key    []byte `json:"key,omitempty"`
	Parcel []byte `json:"parcel,omitempty"`
	// LSN is a position in the WAL, and Term the revision of the leader key under
	// which the home was frozen.
	LSN  int64 `json:"lsn,omitempty"`
	Term int64 `json:"term,omitempty"`
}

// The sides of a move at a site: what it says itself, what the other site says,
// and why the federation has not decided.
const (
	MoveOwn     = "own"
	MovePeer    = "peer"
	MoveVerdict = "verdict"
)

// Forward says that an instance's public port does not lead to its leader as
// usual.
type Forward struct {
	// Hold lets new connections wait. Sessions go on.
	Hold bool `json:"hold,omitempty"`
	// To is the host:port of another site's routers, which lead on.
	To string `json:"to,omitempty"`
}
