package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
)

// asProgram has this test's binary be the program, for a shell to run.
const asProgram = "TEST_AS_PGPATRON"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Unsetenv(asProgram)
		main()
		return
	}
	fixtures.RunWaiting(m, nil)
}

// page is a page of the documentation whose commands are run.
type page struct {
	t           *testing.T
	environment []string
	// lead has a node of an instance take over, where the page says so.
	lead func(instance, node string)
	// actual turns what the page says into what is so here, and shown turns it
	// back.
	actual, shown *strings.Replacer
}

// example is one command of a page with what the page says that it says.
type example struct{ command, output string }

var (
	leadLine = regexp.MustCompile(`^<!-- lead (\S+) (\S+) -->$`)
	// looks are commands that change nothing: what they are to show may be on its
	// way.
	looks = regexp.MustCompile(`^(etcdctl get|psql|pgpatron (routers list|replicas list|backends( show|$)|events|top))`)
)

// run runs the commands of the page's console blocks one after the other.
func (p *page) run(text string) {
	p.t.Helper()
	block, inBlock := "", false
	commands := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := leadLine.FindStringSubmatch(line); m != nil {
			p.lead(m[1], m[2])
		}
		switch {
		case line == "```console":
			block, inBlock = "", true
		case line == "```" && inBlock:
			inBlock = false
			for _, s := range examplesIn(block) {
				commands++
				p.check(s)
			}
		case inBlock:
			block += line + "\n"
		}
	}
	if commands == 0 {
		p.t.Error("the page shows no command")
	}
}

func examplesIn(block string) []example {
	var list []example
	for line := range strings.Lines(block) {
		if command, isCommand := strings.CutPrefix(line, "$ "); isCommand {
			list = append(list, example{command: strings.TrimSpace(command)})
			continue
		}
		list[len(list)-1].output += line
	}
	return list
}

// check runs a command, until it says what the page says if it only looks.
func (p *page) check(s example) {
	p.t.Helper()
	want, endless := strings.CutSuffix(s.output, "^C\n")
	want = normal(want)
	var got string
	for limit := time.Now().Add(fixtures.Patience); ; time.Sleep(50 * time.Millisecond) {
		if endless {
			got = p.follow(s.command, want)
		} else {
			got = p.say(p.shell(s.command).CombinedOutput())
		}
		if got == want || !looks.MatchString(s.command) || time.Now().After(limit) {
			break
		}
	}
	if got != want {
		p.t.Errorf("$ %s\nsays:\n%s\nthe page says:\n%s", s.command, got, want)
	}
}

// shell runs a command as a reader of the page would.
func (p *page) shell(command string) *exec.Cmd {
	cmd := exec.CommandContext(p.t.Context(), "bash", "-c", p.actual.Replace(command))
	cmd.Env = p.environment
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// follow runs a command that does not end by itself until it has said what it is
// to say.
func (p *page) follow(command, want string) string {
	out, err := os.CreateTemp(p.t.TempDir(), "output")
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close()
	cmd := p.shell(command)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	said := func() string { return p.say(os.ReadFile(out.Name())) }
	for limit := time.Now().Add(fixtures.Patience); said() != want && time.Now().Before(limit); {
		time.Sleep(20 * time.Millisecond)
	}
	// The whole group: a shell may have left the command to a child.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
	_ = cmd.Wait()
	return said()
}

// say returns what a command has said as the page would put it. That a command
// fails is said by what it says.
func (p *page) say(out []byte, _ error) string {
	return normal(p.shown.Replace(string(out)))
}

var (
	spaces = regexp.MustCompile(` {2,}`)
	times  = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
)

// normal leaves out what differs from run to run: times, and the widths of
// columns.
func normal(text string) string {
	return times.ReplaceAllString(spaces.ReplaceAllString(text, "  "), "a time")
}
