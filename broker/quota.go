package broker

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/broker/internal/words"
	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/state"
)

// countIn counts an instance that is about to have the plan, or refuses it when
// the plan has as many as it may. The counter is read and written by every
// admission, so that of two brokers that give the last one only one can.
func (t *tables) countIn(tx *state.Tx, plan catalog.Plan) error {
	if err := t.haveRoom(tx, plan); err != nil {
		return err
	}
	return t.countUp(tx, plan.ID)
}

// haveRoom refuses one more instance of a plan that has as many as it may.
func (t *tables) haveRoom(tx *state.Tx, plan catalog.Plan) error {
	count, err := t.count(tx, plan.ID)
	if err != nil {
		return err
	}
	if plan.MaxInstances > 0 && count >= plan.MaxInstances {
		// Not 5xx: platforms would send a DELETE after it. Not 422: nor after one
		// with an error that they do not know.
		return osb.Answer(http.StatusForbidden, "", "quota: plan %s may have %d %s, and has them", plan.Name, plan.MaxInstances, words.Plural(plan.MaxInstances, "instance", "instances"))
	}
	return nil
}

// count reads how many instances a plan has.
func (t *tables) count(tx *state.Tx, plan string) (int, error) {
	count, known, err := state.Load(tx, state.PlanCountKey(plan), state.Integer)
	if err == nil && !known {
		count = t.instancesOf(plan)
	}
	return count, err
}

func (t *tables) countUp(tx *state.Tx, plan string) error {
	count, err := t.count(tx, plan)
	tx.Put(state.PlanCountKey(plan), strconv.AppendInt(nil, int64(count+1), 10))
	return err
}

// recount counts an instance that changes from one plan to another. Whether
// there is room was asked when the change began.
func (t *tables) recount(tx *state.Tx, from, to string) error {
	if from == to {
		return nil
	}
	return errors.Join(t.countUp(tx, to), countOut(tx, from))
}

// countOut counts an instance that no longer has the plan.
func countOut(tx *state.Tx, plan string) error {
	count, known, err := state.Load(tx, state.PlanCountKey(plan), state.Integer)
	if err != nil || !known {
		return err
	}
	tx.Put(state.PlanCountKey(plan), strconv.AppendInt(nil, int64(max(0, count-1)), 10))
	return nil
}

// instancesOf counts the instances of a plan one by one.
func (t *tables) instancesOf(plan string) int {
	n := 0
	for in := range t.instances.All() {
		if in.Value.PlanID == plan {
			n++
		}
	}
	return n
}

// planCounts counts the instances of each plan as they come and go.
type planCounts struct {
	of   map[string]string
	held map[string]int
}

func newPlanCounts(plans []catalog.Plan) planCounts {
	c := planCounts{of: map[string]string{}, held: map[string]int{}}
	for _, p := range plans {
		c.held[p.ID] = 0
	}
	return c
}

// note takes in the plan that an instance has now, "" if it is gone.
func (c planCounts) note(instance, plan string) {
	before := c.of[instance]
	if before == plan {
		return
	}
	if before != "" {
		c.held[before]--
	}
	if plan == "" {
		delete(c.of, instance)
		return
	}
	c.of[instance] = plan
	c.held[plan]++
}

// mendCounts returns the groups that correct counters. Every transaction that
// changes what they count changes them, too, so in one picture they agree, but
// for instances that came when there were no counters.
func (d *driver) mendCounts() []state.Group {
	var groups []state.Group
	for plan, held := range d.plans.held {
		found, ok := d.tables.planCounts.Get(plan)
		if ok && found.Value == held {
			continue
		}
		groups = append(groups, state.Group{Name: "count the instances of a plan", Apply: func(tx *state.Tx) error {
			if err := d.election.Guard(tx); err != nil {
				return errors.Join(state.ErrSkip, err)
			}
			// Changed since it was compared: the next Tick will see.
			if now, _ := tx.Get(state.PlanCountKey(plan)); now.ModRevision != found.ModRevision {
				return state.ErrSkip
			}
			tx.Put(state.PlanCountKey(plan), strconv.AppendInt(nil, int64(held), 10))
			return nil
		}})
	}
	return groups
}
