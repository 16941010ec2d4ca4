package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pgpatron/pgpatron/patroni"
)

// Setting is a PostgreSQL setting that users may change.
type Setting struct {
	Name string `yaml:"name"`
	// Type is integer, number, boolean, enum, memory or duration. Memory and
	// durations are written with PostgreSQL's units: 64MB, 30s.
	Type string `yaml:"type"`
	// Min and Max bound the value, both included, written as a user would.
	Min string `yaml:"min"`
	Max string `yaml:"max"`
	// Values are those that an enum can have.
	Values []string `yaml:"values"`
	// Restart says that the setting takes hold only when PostgreSQL restarts. A
	// replica's value must never be below its leader's.
	Restart bool `yaml:"restart"`
}

// DefaultSettings returns the settings that harm nobody but the instance's user.
func DefaultSettings() []Setting {
	return []Setting{
		{Name: "autovacuum_analyze_scale_factor", Type: "number", Min: "0", Max: "1"},
		{Name: "autovacuum_naptime", Type: "duration", Min: "1s", Max: "1h"},
		{Name: "autovacuum_vacuum_scale_factor", Type: "number", Min: "0", Max: "1"},
		{Name: "default_statistics_target", Type: "integer", Min: "1", Max: "10000"},
		{Name: "default_transaction_isolation", Type: "enum", Values: []string{"read committed", "repeatable read", "serializable"}},
		{Name: "idle_in_transaction_session_timeout", Type: "duration", Min: "1s", Max: "24h"},
		{Name: "jit", Type: "boolean"},
		{Name: "lock_timeout", Type: "duration", Min: "100ms", Max: "24h"},
		{Name: "max_connections", Type: "integer", Min: "20", Max: "1000", Restart: true},
		{Name: "max_parallel_workers_per_gather", Type: "integer", Min: "0", Max: "8"},
		{Name: "random_page_cost", Type: "number", Min: "0.1", Max: "100"},
		{Name: "statement_timeout", Type: "duration", Min: "1s", Max: "24h"},
		{Name: "track_io_timing", Type: "boolean"},
		{Name: "work_mem", Type: "memory", Min: "64kB", Max: "256MB"},
	}
}

// The units of PostgreSQL by type of setting, as factors of the smallest.
var units = map[string]map[string]float64{
	"memory":   {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40},
	"duration": {"us": 1, "ms": 1e3, "s": 1e6, "min": 60e6, "h": 3600e6, "d": 86400e6},
	"integer":  {"": 1},
	"number":   {"": 1},
}

// unitPatterns are what schemas say of values with units.
var unitPatterns = map[string]string{
	"memory":   "^[0-9]+ ?(B|kB|MB|GB|TB)$",
	"duration": "^[0-9]+ ?(us|ms|s|min|h|d)$",
}

// validate reports what is wrong with the setting's definition.
func (s Setting) validate() error {
	if !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(s.Name) {
		return fmt.Errorf("name: must be a PostgreSQL setting, got %q", s.Name)
	}
	if patroni.OwnsParameter(s.Name) && s.Name != "max_connections" {
		return fmt.Errorf("name: %s is set by the node itself", s.Name)
	}
	switch {
	case s.Restart && (s.Type != "integer" || patroni.DefaultParameter(s.Name) == nil):
		return errors.New("restart: only for integers that clusters are made with")
	case s.Type == "boolean":
		return nil
	case s.Type == "enum" && len(s.Values) > 0:
		return nil
	case units[s.Type] == nil:
		return fmt.Errorf("type: must be integer, number, boolean, enum with values, memory or duration, got %q", s.Type)
	}
	least, errMin := s.measure(s.Min)
	most, errMax := s.measure(s.Max)
	if err := errors.Join(errMin, errMax); err != nil {
		return fmt.Errorf("min, max: %w", err)
	}
	if least > most {
		return fmt.Errorf("min, max: %s is above %s", s.Min, s.Max)
	}
	return nil
}

// parse checks a user's value and returns it as PostgreSQL reads it.
func (s Setting) parse(raw json.RawMessage) (string, error) {
	var text string
	var number json.Number
	var on bool
	switch {
	case s.Type == "boolean" && json.Unmarshal(raw, &on) == nil:
		if on {
			return "on", nil
		}
		return "off", nil
	case s.Type == "boolean":
		return "", errors.New("must be true or false")
	case s.Type == "integer" || s.Type == "number":
		if json.Unmarshal(raw, &number) != nil {
			return "", fmt.Errorf("must be %s from %s to %s", article(s.Type), s.Min, s.Max)
		}
		text = number.String()
	case json.Unmarshal(raw, &text) != nil:
		return "", errors.New("must be a string")
	}
	return text, s.check(text)
}

// check reports whether a value keeps to the setting's bounds.
func (s Setting) check(text string) error {
	if s.Type == "enum" {
		if !slices.Contains(s.Values, text) {
			return fmt.Errorf("must be one of %s", strings.Join(s.Values, ", "))
		}
		return nil
	}
	value, err := s.measure(text)
	least, _ := s.measure(s.Min)
	most, _ := s.measure(s.Max)
	if err != nil || value < least || value > most {
		return fmt.Errorf("must be %s from %s to %s", article(s.Type), s.Min, s.Max)
	}
	return nil
}

// measure returns a value in the smallest unit of its type.
func (s Setting) measure(text string) (float64, error) {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	factor, known := units[s.Type][text[len(digits):]]
	if !known {
		return 0, fmt.Errorf("%q is not %s", text, article(s.Type))
	}
	digits = strings.TrimSuffix(digits, " ")
	if s.Type == "number" {
		value, err := strconv.ParseFloat(digits, 64)
		return value, err
	}
	value, err := strconv.ParseInt(digits, 10, 64)
	return float64(value) * factor, err
}

// article names a type of settings in a sentence.
func article(kind string) string {
	switch kind {
	case "memory":
		return "an amount of memory such as 64MB"
	case "duration":
		return "a duration such as 30s"
	case "integer":
		return "an integer"
	}
	return "a " + kind
}

// schema is what the catalog says of the setting.
func (s Setting) schema() map[string]any {
	out := map[string]any{"description": "null: the default again"}
	switch s.Type {
	case "enum":
		values := []any{nil}
		for _, v := range s.Values {
			values = append(values, v)
		}
		out["enum"] = values
	case "memory", "duration":
		out["type"] = []string{"string", "null"}
		out["pattern"] = unitPatterns[s.Type]
		out["description"] = fmt.Sprintf("from %s to %s; null: the default again", s.Min, s.Max)
	case "boolean":
		out["type"] = []string{"boolean", "null"}
	default:
		out["type"] = []string{s.Type, "null"}
		least, _ := s.measure(s.Min)
		most, _ := s.measure(s.Max)
		out["minimum"], out["maximum"] = least, most
	}
	return out
}

// RestartDirection tells which settings that need a restart are raised, and
// which are lowered, by going from one set to another.
func (l Limits) RestartDirection(from, to map[string]string) (raised, lowered []string) {
	for _, s := range l.Settings {
		if !s.Restart {
			continue
		}
		before, _ := s.measure(effective(from, s.Name))
		after, _ := s.measure(effective(to, s.Name))
		switch {
		case after > before:
			raised = append(raised, s.Name)
		case after < before:
			lowered = append(lowered, s.Name)
		}
	}
	return raised, lowered
}

// RestartSettings returns what each setting that needs a restart is to be.
func (l Limits) RestartSettings(chosen map[string]string) map[string]string {
	out := map[string]string{}
	for _, s := range l.Settings {
		if s.Restart {
			out[s.Name] = effective(chosen, s.Name)
		}
	}
	return out
}

// effective returns what a setting is: what the user chose, or what every
// cluster is made with.
func effective(chosen map[string]string, name string) string {
	if value, ok := chosen[name]; ok {
		return value
	}
	return fmt.Sprint(patroni.DefaultParameter(name))
}
