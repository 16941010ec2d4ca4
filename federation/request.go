package federation

import "time"

// Verb is what a request asks for.
type Verb string

// The verbs of requests between sites.
const (
	// Prepare asks whether the site agrees, and to keep still until it hears more.
	Prepare Verb = "prepare"
	// Commit tells a decision.
	Commit Verb = "commit"
	// Abort tells that there will be none.
	Abort Verb = "abort"
	// Ask asks what became of a transaction.
	Ask Verb = "ask"
	// Hello asks whether the sender is still a member.
	Hello Verb = "hello"
)

// Request is a message from one site to another. Each may come late, twice or
// never: all are idempotent, and carry the transaction and the epoch that they
// are based on.
type Request struct {
	Verb Verb   `json:"verb"`
	Tx   string `json:"tx,omitempty"`
	From Peer   `json:"from"`
	To   Peer   `json:"to"`
	// Federation, Base and Chain say at which point of which history From is.
	Federation string `json:"federation,omitempty"`
	Base       int    `json:"base_epoch"`
	Chain      string `json:"chain,omitempty"`
	// Candidate: To is not a member yet.
	Candidate bool `json:"candidate,omitempty"`
	// Coordinator is whose transaction Ask is about.
	Coordinator string `json:"coordinator,omitempty"`
	// Proposal is what a Prepare asks to agree to, and Try counts the ports that
	// were proposed for it. Reuse allows ports that had been in use before.
	Proposal Proposal      `json:"proposal,omitzero"`
	Try      int           `json:"try,omitempty"`
	Reuse    bool          `json:"reuse,omitempty"`
	TTL      time.Duration `json:"ttl,omitempty"`
	// Entry is what a Commit tells. GIPs are all global ports: a candidate gets
	// them with Prepare and Commit.
	Entry Entry       `json:"entry,omitzero"`
	GIPs  map[int]GIP `json:"gips,omitempty"`
}

// Outcome is what a site knows of a transaction.
type Outcome string

// The outcomes that Ask is answered with.
const (
	Committed Outcome = "committed"
	Aborted   Outcome = "aborted"
	Pending   Outcome = "pending"
	Unknown   Outcome = "unknown"
)

// Reply answers a Request that was not refused.
type Reply struct {
	// Peer is the site that answers. One that stands alone tells its uuid only to
	// who may invite it.
	Peer Peer `json:"peer"`
	// Try is the request's, and Port the lowest port that the site could hold
	// from the one asked for upwards; 0: none.
	Try  int `json:"try,omitempty"`
	Port int `json:"port,omitempty"`
	// Again answers Commit: the site is a candidate once more, and takes the
	// decision when it is told again.
	Again bool `json:"again,omitempty"`
	// Outcome answers Ask.
	Outcome Outcome `json:"outcome,omitempty"`
	// Evicted answers Hello: the epoch at which the sender was, 0: it was not.
	Evicted int `json:"evicted,omitempty"`
	// Next answers Hello: the decision that follows the one that the sender knows.
	Next *Entry `json:"next,omitempty"`
	// Federation and Epoch are where the site that answers is.
	Federation string `json:"federation,omitempty"`
	Epoch      int    `json:"epoch"`
}

// Handle is a site's answer to another's request: one step.
func (s *Site) Handle(req Request) (Reply, error) {
	reply := Reply{Try: req.Try}
	var err error
	switch req.Verb {
	case Prepare:
		reply.Port, err = s.prepare(req)
	case Commit:
		reply.Again, err = s.commit(req)
	case Abort:
		s.abort(req)
	case Ask:
		reply.Outcome = s.outcome(req)
	case Hello:
		reply.Evicted, reply.Next = s.evictedAt(req), s.next(req)
	default:
		err = refuse(Unable, "no such request: %q", req.Verb)
	}
	reply.Peer, reply.Federation, reply.Epoch = s.self.Peer, s.self.Federation, s.self.Epoch
	if s.self.State == Standalone && req.Verb != Prepare && req.Verb != Commit {
		// Who knows it can make the site a member: it is for those who were let invite it.
		reply.Peer.UUID = ""
	}
	return reply, err
}
