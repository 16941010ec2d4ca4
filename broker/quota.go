package broker

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/pgpatron/pgpatron/state"
)

// countIn counts an instance that is about to have the plan, or refuses it when
// the plan has as many as it may. The counter is read and written by every
// admission, so that of two brokers that give the last one only one can.
func (t *tables) countIn(tx *state.Tx, plan Plan) error {
	count, known, err := state.Load(tx, state.PlanCountKey(plan.ID), state.Integer)
	if err != nil {
		return err
	}
	if !known {
		count = t.instancesOf(plan.ID)
	}
	if plan.MaxInstances > 0 && count >= plan.MaxInstances {
		// Not 5xx: platforms would send a DELETE after it. Not 422: nor after one
		// with an error that they do not know.
		return answer(http.StatusForbidden, "", "quota: plan %s may have %d %s, and has them", plan.Name, plan.MaxInstances, plural(plan.MaxInstances, "instance", "instances"))
	}
	tx.Put(state.PlanCountKey(plan.ID), strconv.AppendInt(nil, int64(count+1), 10))
	return nil
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

func newPlanCounts(plans []Plan) planCounts {
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
