package sealed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Add adds a new key as the last one, which opens and does not seal yet, and
// returns its id.
func (f File) Add(ctx context.Context) (id string, err error) {
	lines, err := f.lines()
	if err != nil {
		return "", err
	}
	key := randomKey()
	text, err := f.spell(ctx, key)
	if err != nil {
		return "", f.complain(err)
	}
	return key.id, f.write(append(lines, line{text: text}))
}

// Prefer makes the key of that id the first one, which seals.
func (f File) Prefer(id string) error {
	lines, err := f.lines()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(lines, func(l line) bool { return l.id == id })
	if i < 0 {
		return f.complain(fmt.Errorf("%s has no key %s", f.Path, id))
	}
	first := lines[i]
	return f.write(slices.Insert(slices.Delete(lines, i, i+1), 0, first))
}

// write replaces the file by one of the same owner and mode. It is there whole,
// or as it was.
func (f File) write(lines []line) error {
	was, err := os.Stat(f.Path)
	if err != nil {
		return f.complain(err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(f.Path), filepath.Base(f.Path)+".*")
	if err != nil {
		return f.complain(err)
	}
	defer os.Remove(temporary.Name())
	var text strings.Builder
	for _, l := range lines {
		text.WriteString(l.text + "\n")
	}
	_, err = temporary.WriteString(text.String())
	err = errors.Join(err, temporary.Chmod(was.Mode()))
	if owner, ok := was.Sys().(*syscall.Stat_t); ok {
		err = errors.Join(err, temporary.Chown(int(owner.Uid), int(owner.Gid)))
	}
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return f.complain(err)
	}
	return f.complain(os.Rename(temporary.Name(), f.Path))
}
