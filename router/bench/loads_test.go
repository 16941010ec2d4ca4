package bench_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// load is what clients do. run returns how much was done: transactions, or bytes.
type load struct {
	name string
	run  func(l *lab, addr string) float64
	// timed is whether run takes the seconds that were asked for, and starts and
	// ends of programs besides.
	timed bool
}

var loads = []load{
	{"-S -M prepared, 8 clients", pgbench("--select-only", "--protocol=prepared", "--client=8", "--jobs=2"), true},
	{"-S -M prepared, 1 client", pgbench("--select-only", "--protocol=prepared", "--client=1"), true},
	{"-S -C, 8 clients", pgbench("--select-only", "--connect", "--client=8", "--jobs=2"), true},
	{"COPY out, 250 MB", copyOut, false},
	{"COPY in, 250 MB", copyIn, false},
}

// transactions are what pgbench says that it has done.
var transactions = regexp.MustCompile(`number of transactions actually processed: (\d+)`)

func pgbench(args ...string) func(l *lab, addr string) float64 {
	return func(l *lab, addr string) float64 {
		l.t.Helper()
		out := l.run(addr, l.pgbench, append([]string{"--no-vacuum", fmt.Sprintf("--time=%d", *seconds)}, args...)...)
		found := transactions.FindStringSubmatch(out)
		if found == nil {
			l.t.Fatalf("pgbench says: %s", out)
		}
		n, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			l.t.Fatal(err)
		}
		return n
	}
}

// A COPY has this many lines of this many bytes.
const (
	copyLines = 250_000
	copyLine  = 1000
)

func copyOut(l *lab, addr string) float64 {
	l.t.Helper()
	l.run(addr, l.psqlBin, "--output=/dev/null", "--command",
		fmt.Sprintf("COPY (SELECT repeat('x', %d) FROM generate_series(1, %d)) TO STDOUT", copyLine-1, copyLines))
	return copyLines * copyLine
}

func copyIn(l *lab, addr string) float64 {
	l.t.Helper()
	l.run(addr, l.psqlBin, "--command", "TRUNCATE sink", "--command", `\copy sink FROM `+l.lines)
	return copyLines * copyLine
}

// writeLines writes the file that copyIn reads.
func writeLines(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lines")
	line := strings.Repeat("x", copyLine-1) + "\n"
	if err := os.WriteFile(file, []byte(strings.Repeat(line, copyLines)), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}
