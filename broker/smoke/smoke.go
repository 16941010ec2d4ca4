// Package smoke tries a broker as a platform and an application would: it makes
// an instance, binds, writes, switches the leader, reads what was written, and
// leaves nothing.
package smoke

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
)

// Test is one trial of a broker.
type Test struct {
	Broker *Client
	// Plan is the name of the plan that is tried.
	Plan string
	// Out takes a line for each step, with its time.
	Out io.Writer
}

// trial is a Test that runs.
type trial struct {
	Test
	plan     Plan
	instance string
	binding  string
	login    Login
}

// Run runs the test. Whatever comes of it, the instance is deleted.
func (t Test) Run(ctx context.Context) error {
	plan, err := t.Broker.FindPlan(ctx, t.Plan)
	if err != nil {
		return err
	}
	r := trial{Test: t, plan: plan, instance: "smoke-" + uuid.NewString(), binding: uuid.NewString()}
	err = r.use(ctx)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
	defer cancel()
	return errors.Join(err, r.step(end, "delete", func(ctx context.Context) error {
		return r.Broker.Delete(ctx, r.instance, r.plan)
	}))
}

func (r *trial) use(ctx context.Context) error {
	for _, s := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"create", func(ctx context.Context) error { return r.Broker.Create(ctx, r.instance, r.plan) }},
		{"bind", r.bind},
		{"write", func(ctx context.Context) error {
			return r.sql(ctx, "CREATE TABLE smoke (word text)", "INSERT INTO smoke VALUES ('before')")
		}},
		{"switch the leader", r.switchLeader},
		{"write again", func(ctx context.Context) error { return r.sql(ctx, "INSERT INTO smoke VALUES ('after')") }},
		{"read", r.read},
		{"unbind", func(ctx context.Context) error { return r.Broker.Unbind(ctx, r.instance, r.binding, r.plan) }},
	} {
		if err := r.step(ctx, s.name, s.do); err != nil {
			return err
		}
	}
	return nil
}

// step does one step, and tells of it.
func (r *trial) step(ctx context.Context, name string, do func(context.Context) error) error {
	began := time.Now()
	if err := do(ctx); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(r.Out, "%-18s %6d ms\n", name, time.Since(began).Milliseconds())
	return nil
}

func (r *trial) bind(ctx context.Context) (err error) {
	r.login, err = r.Broker.Bind(ctx, r.instance, r.binding, r.plan)
	return err
}

// switchLeader has another node lead, where there is one.
func (r *trial) switchLeader(ctx context.Context) error {
	if r.plan.Nodes() < 2 {
		return nil
	}
	return r.Broker.Update(ctx, r.instance, r.plan, map[string]any{"switchover": true})
}

// sql runs statements in the instance.
func (r *trial) sql(ctx context.Context, statements ...string) error {
	conn, err := r.login.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// read wants what was written before and after the switch.
func (r *trial) read(ctx context.Context) error {
	conn, err := r.login.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var words int
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM smoke WHERE word IN ('before', 'after')").Scan(&words); err != nil {
		return err
	}
	if words != 2 {
		return fmt.Errorf("%d of 2 rows are there: an acknowledged write is lost", words)
	}
	return nil
}
