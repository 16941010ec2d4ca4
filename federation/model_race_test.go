//go:build race

package federation

// slowdown: the race detector finds nothing in the model, which is one
// goroutine, and makes it slow.
const slowdown = 5
