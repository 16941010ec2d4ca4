package main

import (
	"strings"
	"testing"
)

// TestMistakesOfRotation are told before anything is done.
func TestMistakesOfRotation(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	defer d.open()()
	for command, want := range map[string]string{
		"instances rotate":         "name instances, or say --all",
		"instances rotate a --all": "name instances, or say --all",
		"instances rotate a b":     `instance "b": instance "b" does not exist`,
	} {
		wantSays(t, fail(t, d.args(strings.Split(command, " ")...)...), want)
	}
}
