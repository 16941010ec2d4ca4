package catalog

import (
	"encoding/json"
	"testing"
	"time"
)

// wide are the limits that bindings have by default.
var wide = BindLimits{MinLifetime: time.Minute, MaxLifetime: 10 * 365 * 24 * time.Hour}

// A lifetime that is taken lies within its bounds.
func FuzzBindParameters(f *testing.F) {
	f.Add([]byte(`{"lifetime":"24h","read_only":true}`))
	f.Add([]byte(`{"lifetime":"9999999d"}`))
	f.Add([]byte(`{"lifetime":"1m"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		params, err := wide.Parse(json.RawMessage(raw))
		if err == nil && params.Lifetime != 0 && (params.Lifetime < time.Minute || params.Lifetime > wide.MaxLifetime) {
			t.Errorf("took a lifetime of %v from %s", params.Lifetime, raw)
		}
	})
}

func TestLifetimesAreSpelledAsTheyAreRead(t *testing.T) {
	for text, want := range map[string]time.Duration{"1m": time.Minute, "90m": 90 * time.Minute, "24h": 24 * time.Hour, "30d": 720 * time.Hour, "3650d": wide.MaxLifetime} {
		got, err := wide.parseLifetime(json.RawMessage(`"` + text + `"`))
		if err != nil || got != want {
			t.Errorf("%s is read as %v (%v), want %v", text, got, err, want)
		}
		again, err := wide.parseLifetime(json.RawMessage(`"` + spellLifetime(got) + `"`))
		if err != nil || again != got {
			t.Errorf("%v is spelled %s, which is read as %v (%v)", got, spellLifetime(got), again, err)
		}
	}
}
