package registrar_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/state"
)

// part counts what the registrar has it do.
type part struct {
	ticks, runs atomic.Int64
}

func (p *part) Register(s *state.Schema) { s.Watch("/part/") }

func (p *part) Tick(context.Context, state.Tick) ([]state.Group, error) {
	p.ticks.Add(1)
	return []state.Group{{Name: "part", Apply: func(tx *state.Tx) error {
		tx.PutLeased("/part/told", []byte("something"))
		return nil
	}}}, nil
}

func (p *part) Run(ctx context.Context, _ *state.Engine) error {
	p.runs.Add(1)
	<-ctx.Done()
	return nil
}

// A part works on the registrar's engine and under its lease, and only where
// the backend is the registrar's.
func TestPartsWorkOnlyWhereTheBackendIsTheRegistrars(t *testing.T) {
	s := newSite(t)
	mine, others := &part{}, &part{}
	cfg := s.config()
	cfg.Parts = []registrar.Part{mine}
	stop := s.start(cfg, s.client)
	s.await("the part runs and has told something", func() bool {
		value, lease := s.value("/part/told")
		return mine.runs.Load() == 1 && value == "something" && lease != 0
	})
	cfg.Hostname, cfg.Parts = testHost+"-2", []registrar.Part{others}
	second, err := registrar.New(cfg, s.client)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "is already registered") {
		t.Errorf("second registrar: %v, want it to refuse", err)
	}
	if others.runs.Load() != 0 || others.ticks.Load() != 0 {
		t.Errorf("the part of a registrar that has no backend ran %d times, with %d ticks", others.runs.Load(), others.ticks.Load())
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	s.await("what the part told goes with the registrar", func() bool { value, _ := s.value("/part/told"); return value == "" })
}
