package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sources returns the text of the program.
func sources(t *testing.T, root string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// Whoever waits for an alarm of docs/operations.md waits for one that can come:
// the program has each message and each metric.
func TestAlarmsAreOnesThatCanCome(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## Alarms\n")
	if !found {
		t.Fatal("docs/operations.md has no alarms")
	}
	program := sources(t, root)
	metric := regexp.MustCompile(`^(?:pgpatron_(?:router|engine|registrar|federation)_|…_)([a-z_]+)`)
	seen := 0
	for row := range strings.Lines(section) {
		cells := strings.Split(row, "|")
		if len(cells) < 3 || strings.Contains(cells[1], "etcd's own") {
			continue
		}
		for i, text := range strings.Split(cells[1], "`") {
			if i%2 == 0 || strings.HasPrefix(text, "/") || strings.HasPrefix(text, "pgpatron ") {
				continue
			}
			if m := metric.FindStringSubmatch(text); m != nil {
				text = m[1]
			}
			text, _, _ = strings.Cut(text, " …")
			if !strings.Contains(program, text) {
				t.Errorf("nothing says %q", text)
			}
			seen++
		}
	}
	if seen < 30 {
		t.Errorf("only %d alarms were found", seen)
	}
}
