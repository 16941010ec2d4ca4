package router_test

import (
	"testing"

	"github.com/pgpatron/pgpatron/router"
)

// Those who are cut come back at once, and find their places free: no count has
// them in the kernel any more, whenever the cut comes.
func TestCutSessionsAreNotCounted(t *testing.T) {
	const limit = 100
	for name, test := range map[string]struct {
		// opened are those that the kernel has led before the second count, open those
		// that it finds then.
		opened, open int
		// before, estimating and walking say when the cut comes.
		before, estimating, walking bool
	}{
		"before a count":                {opened: 200, before: true},
		"before an estimate":            {opened: 6, before: true},
		"while it is estimated":         {opened: 6, estimating: true},
		"before they are counted":       {opened: 200, open: 90, estimating: true},
		"while they are counted":        {opened: 200, open: 90, walking: true},
		"a few, while they are counted": {opened: 200, open: 2, walking: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := router.NewCensus(t, limit)
			c.Opened, c.Open = func() int { return 5 }, func() int { return 5 }
			count(t, c, 5)
			c.Opened = func() int {
				if test.estimating {
					c.Cut()
				}
				return test.opened
			}
			c.Open = func() int {
				if test.walking {
					c.Cut()
				} else {
					expectLed(t, c, 0)
				}
				return test.open
			}
			if test.before {
				c.Cut()
			}
			count(t, c, 0)
			c.Opened, c.Open = func() int { return test.opened }, func() int { return 0 }
			count(t, c, 0)
		})
	}
}

// As long as few were opened since the last count, they are not counted one by one.
func TestFewNewSessionsAreEstimated(t *testing.T) {
	c := router.NewCensus(t, 100)
	opened, walks := 50, 0
	c.Opened = func() int { return opened }
	c.Open = func() int { walks++; return 10 }
	count(t, c, 10)
	opened = 80
	count(t, c, 40)
	if walks != 1 {
		t.Errorf("counted one by one %d times, want once", walks)
	}
	opened = 150
	count(t, c, 10)
}

func count(t *testing.T, c *router.Census, want int64) {
	t.Helper()
	if err := c.Count(); err != nil {
		t.Fatal(err)
	}
	expectLed(t, c, want)
}

func expectLed(t *testing.T, c *router.Census, want int64) {
	t.Helper()
	if route, all := c.Led(); route != want || all != want {
		t.Errorf("%d sessions of the instance are counted and %d in all, want %d", route, all, want)
	}
}
