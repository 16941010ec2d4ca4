package registry

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Envar is one variable of an instance's environment.
type Envar struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Envars are an environment, in no meaningful order.
type Envars []Envar

// UnmarshalJSON reads a list of keys with values, or one object of them.
func (e *Envars) UnmarshalJSON(b []byte) error {
	var object map[string]string
	if json.Unmarshal(b, &object) == nil {
		*e = nil
		for key, value := range object {
			*e = append(*e, Envar{key, value})
		}
		e.sort()
		return nil
	}
	return json.Unmarshal(b, (*[]Envar)(e))
}

func (e Envars) sort() {
	slices.SortFunc(e, func(a, b Envar) int { return strings.Compare(a.Key, b.Key) })
}

// Over returns the environment with that of base where it says nothing itself,
// sorted by key.
func (e Envars) Over(base Envars) Envars {
	merged := map[string]string{}
	for _, v := range slices.Concat(base, e) {
		merged[v.Key] = v.Value
	}
	var all Envars
	for key, value := range merged {
		all = append(all, Envar{key, value})
	}
	all.sort()
	return all
}

var envarKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

func (e Envars) validate() error {
	seen := map[string]bool{}
	for i, v := range e {
		at := fmt.Sprintf("envars[%d]", i)
		switch {
		case !envarKey.MatchString(v.Key):
			return FieldError{at + ".key", fmt.Sprintf("must be a variable's name, got %q", v.Key)}
		case seen[v.Key]:
			return FieldError{at + ".key", fmt.Sprintf("%s is there twice", v.Key)}
		case strings.ContainsRune(v.Value, 0):
			return FieldError{at + ".value", "must not hold a NUL"}
		}
		seen[v.Key] = true
	}
	return nil
}

// Strings returns the environment as KEY=value.
func (e Envars) Strings() []string {
	var all []string
	for _, v := range e {
		all = append(all, v.Key+"="+v.Value)
	}
	return all
}
