package catalog

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// BindLimits bound what a user may ask for of a binding.
type BindLimits struct {
	// MinLifetime and MaxLifetime bound its lifetime, both included.
	MinLifetime, MaxLifetime time.Duration
}

// BindParameters are what a user may say of a binding.
type BindParameters struct {
	// ReadOnly asks for a login that can only read.
	ReadOnly bool
	// Lifetime is how long the login lasts. 0: until it is unbound.
	Lifetime time.Duration
}

// Parse checks a user's parameters against Schema. The error is a Refusal.
func (l BindLimits) Parse(raw json.RawMessage) (BindParameters, error) {
	var out BindParameters
	given, err := ParseObject(raw)
	if err != nil {
		return out, err
	}
	for name, value := range given {
		switch name {
		case "read_only":
			if json.Unmarshal(value, &out.ReadOnly) != nil || string(value) == "null" {
				return out, Refuse("parameter read_only: must be true or false")
			}
		case "lifetime":
			if out.Lifetime, err = l.parseLifetime(value); err != nil {
				return out, err
			}
		default:
			return out, unknownParameter(name, l.Schema())
		}
	}
	return out, nil
}

// lifetimePattern is how a lifetime is written: days are what users think in,
// and time.ParseDuration has none.
const lifetimePattern = `^[1-9][0-9]{0,7}[mhd]$`

var lifetimeForm = regexp.MustCompile(lifetimePattern)

var lifetimeUnits = []struct {
	sign string
	unit time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}}

func (l BindLimits) parseLifetime(raw json.RawMessage) (time.Duration, error) {
	var text string
	if json.Unmarshal(raw, &text) != nil || !lifetimeForm.MatchString(text) {
		return 0, Refuse("parameter lifetime: must be a whole number followed by m, h or d, such as 24h")
	}
	// The pattern bounds the digits: this can not fail.
	n, _ := strconv.Atoi(text[:len(text)-1])
	unit := unitOf(text)
	// Compared in units: the product could be more than a Duration holds.
	if n > int(l.MaxLifetime/unit) || time.Duration(n)*unit < l.MinLifetime {
		return 0, Refuse("parameter lifetime: must be from %s to %s, got %s",
			spellLifetime(l.MinLifetime), spellLifetime(l.MaxLifetime), text)
	}
	return time.Duration(n) * unit, nil
}

func unitOf(lifetime string) time.Duration {
	for _, u := range lifetimeUnits {
		if strings.HasSuffix(lifetime, u.sign) {
			return u.unit
		}
	}
	return time.Minute
}

// spellLifetime writes a lifetime as users do, in the largest unit that fits.
func spellLifetime(d time.Duration) string {
	for _, u := range lifetimeUnits {
		if d%u.unit == 0 {
			return strconv.Itoa(int(d/u.unit)) + u.sign
		}
	}
	return d.String()
}
