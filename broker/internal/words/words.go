// Package words puts words together as sentences do.
package words

import "strings"

// List joins words: one, two and three.
func List(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// Plural returns the word that goes with n things.
func Plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
