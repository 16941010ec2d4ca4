package sealed

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// File is a file with keys, one in a line: 64 hexadecimal digits, or what a
// Command has wrapped. The first one seals, each opens.
type File struct {
	// Setting is the setting that names the file: errors begin with it.
	Setting string
	Path    string
	// Command wraps new keys, and unwraps; none: keys are plain.
	Command Command
}

// line is one key as the file has it.
type line struct {
	text string
	// key is of a plain line, id and wrapped of another.
	key     Key
	id      string
	wrapped []byte
}

// Check reports what is wrong with the file, as far as can be told without
// running the Command. A file that is missing is an [fs.ErrNotExist].
func (f File) Check() error {
	_, err := f.lines()
	return err
}

// Create makes the file with one key, readable by its owner alone, if there is
// none.
func (f File) Create(ctx context.Context) error {
	if _, err := os.Stat(f.Path); !errors.Is(err, fs.ErrNotExist) {
		return f.complain(err)
	}
	text, err := f.spell(ctx, randomKey())
	if err != nil {
		return f.complain(err)
	}
	out, err := os.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return f.complain(err)
	}
	_, err = out.WriteString(text + "\n")
	return f.complain(errors.Join(err, out.Sync(), out.Close()))
}

// read returns the keys in the file. known are those that need no Command, by
// their lines.
func (f File) read(ctx context.Context, known map[string]Key) (keys []Key, byLine map[string]Key, err error) {
	lines, err := f.lines()
	if err != nil {
		return nil, nil, err
	}
	byLine = map[string]Key{}
	for _, l := range lines {
		key, ok := known[l.text]
		if !ok {
			if key, err = f.keyOf(ctx, l); err != nil {
				return nil, nil, f.complain(fmt.Errorf("key %s in %s: %w", l.id, f.Path, err))
			}
		}
		byLine[l.text] = key
		keys = append(keys, key)
	}
	return keys, byLine, nil
}

func (f File) keyOf(ctx context.Context, l line) (Key, error) {
	if l.wrapped == nil {
		return l.key, nil
	}
	return f.Command.unwrap(ctx, l.id, l.wrapped)
}

func (f File) lines() ([]line, error) {
	b, err := os.ReadFile(f.Path)
	if err != nil {
		return nil, f.complain(err)
	}
	var lines []line
	for text := range strings.FieldsSeq(string(b)) {
		l, err := f.parse(text)
		if err != nil {
			return nil, f.complain(fmt.Errorf("%s: %w", f.Path, err))
		}
		lines = append(lines, l)
	}
	if len(lines) == 0 {
		return nil, f.complain(fmt.Errorf("%s holds no key", f.Path))
	}
	return lines, nil
}

func (f File) parse(text string) (line, error) {
	id, wrapped, isWrapped := strings.Cut(text, ":")
	if !isWrapped {
		key, err := parseKey(text)
		return line{text: text, key: key, id: key.id}, err
	}
	raw, err := base64.StdEncoding.DecodeString(wrapped)
	switch {
	case err != nil || len(raw) == 0 || len(id) != 8:
		return line{}, errors.New("a line with a colon is ID:KEY, as pgpatron seal new-key writes it")
	case len(f.Command) == 0:
		return line{}, fmt.Errorf("key %s is wrapped: key_command must name the program that unwraps it", id)
	}
	return line{text: text, id: id, wrapped: raw}, nil
}

// spell returns the line of a key.
func (f File) spell(ctx context.Context, k Key) (string, error) {
	if len(f.Command) == 0 {
		return string(k.hex()), nil
	}
	wrapped, err := f.Command.wrap(ctx, k)
	if err != nil {
		return "", err
	}
	return k.id + ":" + base64.StdEncoding.EncodeToString(wrapped), nil
}

// complain names the setting in an error.
func (f File) complain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", f.Setting, err)
}
