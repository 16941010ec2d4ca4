package state_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"
)

// child is a benchmark's other process: this test binary, started again in a
// role, so that what is measured has a heap, a scheduler and a rusage of its
// own. Parent and child take turns: the parent tells a word, the child answers
// a JSON value.
type child struct {
	b   *testing.B
	in  io.Writer
	out *json.Decoder
	// end hangs up and waits until the process is gone.
	end func()
}

// parent is the other end, as the child sees it.
type parent struct {
	words   *bufio.Scanner
	answers *json.Encoder
}

const (
	roleVariable   = "PGPATRON_BENCHMARK_ROLE"
	configVariable = "PGPATRON_BENCHMARK_CONFIG"
)

// roles are what a child may be. Each returns when its parent hangs up.
var roles = map[string]func(t *testing.T, config []byte, p parent){
	"allocator": beAllocator,
	"observer":  beObserver,
}

// TestBenchmarkChild is where a child begins. It tests nothing.
func TestBenchmarkChild(t *testing.T) {
	role, ok := roles[os.Getenv(roleVariable)]
	if !ok {
		t.Skip("serves benchmarks only")
	}
	role(t, []byte(os.Getenv(configVariable)), parent{bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)})
}

// startChild starts a process in a role. It ends with the benchmark.
func startChild(b *testing.B, role string, config any) *child {
	b.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestBenchmarkChild$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), roleVariable+"="+role, configVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		in.Close()
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			b.Errorf("process %s: %v", role, err)
		}
	})
	b.Cleanup(end)
	return &child{b, in, json.NewDecoder(out), end}
}

// tell gives the child its next word.
func (c *child) tell(word string) {
	c.b.Helper()
	if _, err := io.WriteString(c.in, word+"\n"); err != nil {
		c.b.Fatal(err)
	}
}

// hear waits for the child's next answer.
func (c *child) hear(answer any) {
	c.b.Helper()
	if err := c.out.Decode(answer); err != nil {
		c.b.Fatal(err)
	}
}

// hear waits for the next word and reports whether there was one.
func (p parent) hear() bool { return p.words.Scan() }

func (p parent) tell(t *testing.T, answer any) {
	t.Helper()
	if err := p.answers.Encode(answer); err != nil {
		t.Fatal(err)
	}
}

// quantile returns the value below which the share q of values lies. It sorts
// them.
func quantile[T cmp.Ordered](values []T, q float64) T {
	var none T
	if len(values) == 0 {
		return none
	}
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}

func median[T cmp.Ordered](values []T) T { return quantile(values, 0.5) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
