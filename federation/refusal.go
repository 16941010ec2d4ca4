package federation

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Code tells programs what a Refusal means.
type Code string

// The codes of refusals.
const (
	// Busy passes by itself: another transaction is under way.
	Busy Code = "busy"
	// Behind passes by itself: one of the two sites is still to be told of a
	// decision.
	Behind Code = "behind"
	// Elsewhere is for good: the candidate has become something else.
	Elsewhere Code = "elsewhere"
	// Fork is for good: the histories of the two sites differ.
	Fork Code = "fork"
	// Gone is for good: the member that the request is for is none any more.
	Gone Code = "gone"
	// Unable is everything else that somebody has to change first.
	Unable Code = "unable"
	// Silent says that a site could not be reached: nothing is known of it.
	Silent Code = "silent"
)

// Refusal is why a site does not do what it is asked. Its text is for people.
type Refusal struct {
	Code Code   `json:"code"`
	Text string `json:"refusal"`
}

// Error returns the refusal's text.
func (r *Refusal) Error() string { return r.Text }

func refuse(code Code, format string, args ...any) error {
	return &Refusal{Code: code, Text: fmt.Sprintf(format, args...)}
}

// codeOf returns the code of a refusal; any other error says nothing.
func codeOf(err error) Code {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Code
	}
	return Silent
}

// busy tells what stands in the way at a site with an overlay.
func (o Overlay) busy(dc string, now time.Time) error {
	if o.Kind == Invited {
		return refuse(Busy, "%s is invited by %s (%s)", dc, o.Coordinator, o.expires(now))
	}
	return refuse(Busy, "%s is in candidate-review for %s", dc, o.Proposal.subject())
}

// expires tells in whole seconds when the overlay goes.
func (o Overlay) expires(now time.Time) string {
	left := max(o.Expires.Sub(now), 0)
	return fmt.Sprintf("expires in %ds", int((left+time.Second-1)/time.Second))
}

// subject names what a proposal is about.
func (p Proposal) subject() string {
	switch p.Kind {
	case Add, Leave, Evict:
		return strings.Join(p.names(), ", ")
	}
	return "instance " + p.Instance
}
