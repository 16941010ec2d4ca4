package broker

import (
	"encoding/json"
	"testing"
	"time"
)

// A lifetime that is taken lies within its bounds.
func FuzzBindParameters(f *testing.F) {
	f.Add([]byte(`{"lifetime":"24h","read_only":true}`))
	f.Add([]byte(`{"lifetime":"9999999d"}`))
	f.Add([]byte(`{"lifetime":"1m"}`))
	cfg := Config{}.WithDefaults()
	f.Fuzz(func(t *testing.T, raw []byte) {
		params, err := cfg.parseBindParameters(json.RawMessage(raw))
		if err == nil && params.Lifetime != 0 && (params.Lifetime < time.Minute || params.Lifetime > cfg.MaxBindingLifetime) {
			t.Errorf("took a lifetime of %v from %s", params.Lifetime, raw)
		}
	})
}

func TestLifetimesAreSpelledAsTheyAreRead(t *testing.T) {
	cfg := Config{}.WithDefaults()
	for text, want := range map[string]time.Duration{"1m": time.Minute, "90m": 90 * time.Minute, "24h": 24 * time.Hour, "30d": 720 * time.Hour, "3650d": cfg.MaxBindingLifetime} {
		got, err := cfg.parseLifetime(json.RawMessage(`"` + text + `"`))
		if err != nil || got != want {
			t.Errorf("%s is read as %v (%v), want %v", text, got, err, want)
		}
		again, err := cfg.parseLifetime(json.RawMessage(`"` + spellLifetime(got) + `"`))
		if err != nil || again != got {
			t.Errorf("%v is spelled %s, which is read as %v (%v)", got, spellLifetime(got), again, err)
		}
	}
}
