package registrar

import (
	"testing"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// used is a measure of a disk of 1000 MiB.
func used(disk int) measure {
	return measure{capacity: state.Capacity{CPUs: 1, MemoryMB: 1000, DiskMB: 1000}, use: state.Use{DiskMB: disk}}
}

// What hardly changes is hardly told: each word goes to every process.
func TestMeterTellsLittle(t *testing.T) {
	told := 0
	m := &meter{fullAt: 95, changed: func() { told++ }, log: fixtures.Log(t)}
	for _, step := range []struct {
		disk int
		due  bool
		want bool
	}{
		{500, false, true}, // the first
		{500, true, false},
		{509, true, false}, // less than a percent
		{530, false, false},
		{530, true, true},
		{575, false, false},
		{580, false, true}, // five percent
		{949, false, true},
		{950, false, true}, // full
		{951, true, false},
		{900, false, true},
	} {
		before := told
		m.tell(used(step.disk), step.due)
		if got := told > before; got != step.want {
			t.Errorf("%d MiB, due %v: told %v, want %v", step.disk, step.due, got, step.want)
		}
	}
}

// A disk that was full is not called empty again at the first byte.
func TestFullDiskNeedsRoom(t *testing.T) {
	m := &meter{fullAt: 95, changed: func() {}, log: fixtures.Log(t)}
	for _, step := range []struct {
		disk int
		want bool
	}{{949, false}, {950, true}, {949, true}, {930, true}, {929, false}, {949, false}, {999, true}, {100, false}} {
		m.tell(used(step.disk), false)
		if _, full := m.last(); full != step.want {
			t.Errorf("%d of 1000: full %v, want %v", step.disk, full, step.want)
		}
	}
}
