package planner

import "github.com/pgpatron/pgpatron/state"

// PlanPasswords returns the steps that replace the passwords that a cluster has of
// its own. What an earlier replacement has left undone is ended first. They leave
// nothing out if they are repeated: each names the edition that it leads to.
//
// First everybody learns the new passwords, then they hold, then everybody forgets
// the old ones: whoever logs in meanwhile with either is let in, or is the next
// moment.
//
// Docs: docs/decisions/0056-passwords-of-clusters.md.
func PlanPasswords(c state.Cluster) []state.Step {
	p := planner{Picture: Picture{Cluster: c}}
	edition := c.LoginEdition
	add := func(kind state.StepKind, edition int, text string) {
		p.add(state.Step{Kind: kind, Edition: edition}, "%s", text)
	}
	if _, unfinished := c.SpareLogins(); unfinished {
		add(state.AdoptPasswords, edition, "wait until the passwords of the last time hold")
		edition++
		add(state.RetirePasswords, edition, "have every node forget those before them")
	}
	add(state.OfferPasswords, edition+1, "tell every node the new passwords")
	add(state.AdoptPasswords, edition+2, "change them in the database")
	add(state.RetirePasswords, edition+3, "have every node forget the old ones")
	p.proveWrite()
	return p.steps
}

// keepPasswords forgets new passwords that are not to be used after all.
func (p *planner) keepPasswords() {
	if _, offered := p.Cluster.SpareLogins(); offered {
		p.add(state.Step{Kind: state.RetirePasswords, Edition: p.Cluster.LoginEdition + 1}, "have every node forget the new passwords")
	}
}

func (p *planner) proveWrite() {
	p.add(state.Step{Kind: state.ProveWrite}, "write through port %d", p.Cluster.AllocatedPort)
}
