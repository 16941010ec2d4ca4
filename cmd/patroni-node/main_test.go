package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/patroni"
)

func TestRunRefuses(t *testing.T) {
	for _, args := range [][]string{{"run"}, {"post-bootstrap"}, {"post-bootstrap", "a", "b"}, {"-h"}} {
		err := run(t.Context(), args, io.Discard)
		if err == nil || !strings.HasPrefix(err.Error(), "usage: ") {
			t.Errorf("%q: got error %v, want the usage", args, err)
		}
	}
}

func TestRunNeedsItsFile(t *testing.T) {
	for _, args := range [][]string{nil, {"post-bootstrap", "dbname=postgres"}} {
		err := run(t.Context(), args, io.Discard)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), patroni.NodeFile) {
			t.Errorf("%q: got error %v, want one that names the missing %s", args, err, patroni.NodeFile)
		}
	}
}

func TestStatus(t *testing.T) {
	if got := status(fmt.Errorf("running: %w", &patroni.ExitError{Code: 137})); got != 137 {
		t.Errorf("patroni killed: got status %d, want 137", got)
	}
	if got := status(errors.New("no etcd")); got != 1 {
		t.Errorf("other error: got status %d, want 1", got)
	}
}
