package federation

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"
)

// State is where a site stands towards federations.
type State string

// The states of a site. Invited and Review are an Overlay on one of the others,
// and pass by themselves.
const (
	Standalone State = "standalone"
	Invited    State = "invited"
	Member     State = "member"
	Review     State = "candidate-review"
	Leaving    State = "leaving"
)

// Peer is a site as others know it.
type Peer struct {
	// DC is the site's name: a DNS label.
	DC string `json:"dc"`
	// UUID changes whenever the site becomes standalone again: one who comes back
	// is another.
	UUID string `json:"uuid,omitempty"`
	// Address is the host:port at which other sites reach it.
	Address string `json:"address"`
}

// is reports whether two peers are the same site in the same life.
func (p Peer) is(other Peer) bool { return p.DC == other.DC && p.UUID == other.UUID }

// Self is what a site permanently knows of itself and its federation.
type Self struct {
	Peer
	State State `json:"state"`
	// Federation is the id of the federation, empty while there is none.
	Federation string `json:"federation,omitempty"`
	// Epoch counts the federation's decisions; Chain is the last one's digest.
	Epoch int    `json:"epoch"`
	Chain string `json:"chain,omitempty"`
	// Members are all sites of the federation, this one among them, by name.
	Members []Peer `json:"members"`
	// Evicted is the epoch at which the others went on without this site: it is
	// frozen until it is reset.
	Evicted int `json:"evicted,omitempty"`
}

// member returns the member of that name.
func (s Self) member(dc string) (Peer, bool) {
	i := slices.IndexFunc(s.Members, func(p Peer) bool { return p.DC == dc })
	if i < 0 {
		return Peer{}, false
	}
	return s.Members[i], true
}

// others returns the members but for those of these names.
func (s Self) others(but ...string) []Peer {
	return slices.DeleteFunc(slices.Clone(s.Members), func(p Peer) bool { return slices.Contains(but, p.DC) })
}

// Kind is what a transaction changes.
type Kind string

// The kinds of transactions.
const (
	Add     Kind = "add"
	Leave   Kind = "leave"
	Evict   Kind = "evict"
	Reserve Kind = "reserve"
	Release Kind = "release"
	Move    Kind = "move"
)

// Proposal is what a coordinator asks the others to agree to.
type Proposal struct {
	Kind Kind `json:"kind"`
	// Peers are the site that is added or leaves, or those that are evicted:
	// several at once, because each of them would have to agree to the others'.
	Peers []Peer `json:"peers,omitempty"`
	// Drop gives up the global ports whose home is a site that goes.
	Drop bool `json:"drop,omitempty"`
	// Port is a global port, Instance has it, and Home is the site where the
	// instance is, or is after a move.
	Port     int    `json:"port,omitempty"`
	Instance string `json:"instance_id,omitempty"`
	Home     string `json:"home,omitempty"`
}

// adds reports whether the proposal makes the site a member.
func (p Proposal) adds(site Peer) bool {
	return p.Kind == Add && slices.ContainsFunc(p.Peers, site.is)
}

// names returns the names of the proposal's sites.
func (p Proposal) names() []string {
	var out []string
	for _, peer := range p.Peers {
		out = append(out, peer.DC)
	}
	return out
}

// Overlay is a state that passes: its key is under a lease of its own.
type Overlay struct {
	// Kind is Invited or Review.
	Kind        State    `json:"kind"`
	Tx          string   `json:"tx"`
	Coordinator string   `json:"coordinator"`
	Proposal    Proposal `json:"proposal"`
	BaseEpoch   int      `json:"base_epoch"`
	// Expires is by this site's clock. It is what people are told, and after it
	// the coordinator decides nothing; etcd is who removes the overlay.
	Expires time.Time `json:"expires"`
}

// Entry is one decision of a federation. Entries form a chain.
type Entry struct {
	Federation  string   `json:"federation"`
	Epoch       int      `json:"epoch"`
	Tx          string   `json:"tx"`
	Coordinator string   `json:"coordinator"`
	Proposal    Proposal `json:"proposal"`
	// Members are those of the federation after the decision.
	Members []Peer `json:"members"`
	// Prev is the Chain of the entry before, Chain the digest of this one.
	Prev  string `json:"prev,omitempty"`
	Chain string `json:"chain"`
}

// sealed returns the entry with its digest.
func (e Entry) sealed() Entry {
	e.Chain = ""
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings and numbers only
	}
	sum := sha256.Sum256(b)
	e.Chain = hex.EncodeToString(sum[:12])
	return e
}

// follows reports whether the entry is as it was decided, and is the next one
// of a history that is at this epoch.
func (e Entry) follows(federation string, epoch int, chain string) bool {
	return e.Federation == federation && e.Epoch == epoch+1 && e.Prev == chain && e.sealed().Chain == e.Chain
}

// GIP is a global port: no site of the federation gives it to another instance.
type GIP struct {
	Instance string `json:"instance_id"`
	// Home is the site where the instance is.
	Home string `json:"home"`
}

// Hold is what a site has agreed to that binds it for as long as it does not
// know the outcome. It outlives the overlay. A port that is to become global is
// kept free, so that a late decision finds it so; and from a site that is to be
// evicted nothing is taken any more, or there could be two decisions.
type Hold struct {
	Coordinator Peer `json:"coordinator"`
	BaseEpoch   int  `json:"base_epoch"`
	// Against are the sites that are to be evicted.
	Against []Peer `json:"against,omitempty"`
	// Port is kept for Instance. Try is the coordinator's attempt that it is of.
	Port     int    `json:"port,omitempty"`
	Instance string `json:"instance_id,omitempty"`
	Try      int    `json:"try,omitempty"`
}

// LetterID names a letter: the transaction, and the site that is to know it.
type LetterID struct{ Tx, DC string }

// Letter is a decision that a site has not yet said to have taken.
type Letter struct {
	To    Peer `json:"to"`
	Epoch int  `json:"epoch"`
	// Candidate: the site becomes a member by it.
	Candidate bool `json:"candidate,omitempty"`
	// Elsewhere is why the candidate can not become one any more. It is evicted.
	Elsewhere string `json:"elsewhere,omitempty"`
}
