package broker

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// bindParameters are what a user may say of a binding.
type bindParameters struct {
	// ReadOnly asks for a login that can only read.
	ReadOnly bool
	// Lifetime is how long the login lasts. 0: until it is unbound.
	Lifetime time.Duration
}

// parseBindParameters checks a user's parameters against bindSchema.
func (c Config) parseBindParameters(raw json.RawMessage) (bindParameters, error) {
	var out bindParameters
	given, err := parseObject(raw)
	if err != nil {
		return out, err
	}
	for name, value := range given {
		switch name {
		case "read_only":
			if json.Unmarshal(value, &out.ReadOnly) != nil || string(value) == "null" {
				return out, badRequest("parameter read_only: must be true or false")
			}
		case "lifetime":
			if out.Lifetime, err = c.parseLifetime(value); err != nil {
				return out, err
			}
		default:
			return out, unknownParameter(name, bindSchema(c))
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

func (c Config) parseLifetime(raw json.RawMessage) (time.Duration, error) {
	var text string
	if json.Unmarshal(raw, &text) != nil || !lifetimeForm.MatchString(text) {
		return 0, badRequest("parameter lifetime: must be a whole number followed by m, h or d, such as 24h")
	}
	// The pattern bounds the digits: this can not fail.
	n, _ := strconv.Atoi(text[:len(text)-1])
	unit := unitOf(text)
	// Compared in units: the product could be more than a Duration holds.
	if n > int(c.MaxBindingLifetime/unit) || time.Duration(n)*unit < c.MinBindingLifetime {
		return 0, badRequest("parameter lifetime: must be from %s to %s, got %s",
			spellLifetime(c.MinBindingLifetime), spellLifetime(c.MaxBindingLifetime), text)
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
