//go:build !race

package federation

// slowdown: every schedule that was asked for is played.
const slowdown = 1
