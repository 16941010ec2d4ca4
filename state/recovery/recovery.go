// Package recovery brings back a site whose etcd has lost its data while the
// containers live: from the copies of its records that the nodes' volumes carry.
//
//	evidence, err := recovery.Gather(ctx, client, keys, patience)
//	…
//	plan := recovery.Make(evidence, choices)
//	plan.Print(os.Stdout)
//	…
//	err = plan.Write(ctx, client)
//
// Make is pure: what it can not know it does not guess, it is one of the plan's
// Problems until a Choice is made.
package recovery

import (
	"errors"

	"github.com/pgpatron/pgpatron/state/copies"
)

// ErrUndecided says that a plan has problems that nobody has decided about.
var ErrUndecided = errors.New("the plan has problems: decide about them first")

// Evidence is all that is known before anything is decided.
type Evidence struct {
	// Site and Era are what etcd says of itself now; "" and 0: nothing.
	Site string
	Era  int
	// Answers are of the backends that have told everything, by id.
	Answers map[string]copies.Answer
	Volumes []Volume
	// Existing is what etcd holds under the keys of instances, ports and switches.
	Existing map[string]string
}

// Volume is what is known of one node's volume.
type Volume struct {
	copies.Found
	// Copy is the copy on it. Readable says that it is whole and could be opened;
	// if not, Problem says why, and Copy is as much as could be read.
	Copy     copies.Copy
	Readable bool
}

// Choices are what a person has decided.
type Choices struct {
	// Site is the site to recover, where copies of several are found.
	Site string
	// Without are backends that are not waited for: what only they know is lost.
	Without []string
	// Include are doubtful instances that are to be recovered, LeaveOut those that
	// are not, doubtful or not.
	Include, LeaveOut []string
	// Take names the node whose copy counts, by instance, where copies contradict
	// each other.
	Take map[string]string
}

// Plan is what a recovery will do.
type Plan struct {
	Site string
	Era  int
	// Before is the site that etcd says it is of now.
	Before    string
	Hosts     []Host
	Instances []Instance
	// Switches are those of backends.
	Switches []copies.Record
	// Problems are to be decided before anything is written.
	Problems []Problem
	// Notes tell what else is worth knowing.
	Notes []string
}

// Host is a backend that has answered.
type Host struct {
	ID, Hostname string
	Volumes      int
}

// Instance is what is done about one instance.
type Instance struct {
	ID string
	// From is the node whose copy counts, and how new that is.
	From copies.Header
	// Port and ReadOnlyPort are its public ports, 0: none.
	Port, ReadOnlyPort int
	Nodes, Running     int
	Bindings           int
	// There says that etcd has it already: nothing is written.
	There bool
	Notes []string
	// Records are written as they are, Patroni's where there are none.
	Records, Patroni []copies.Record
}

// Problem is something that a person has to decide, and how.
type Problem struct{ Text, Way string }
