package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// screen shows texts one after the other: on a terminal each in the place of the
// one before, elsewhere as blocks with an empty line between them.
type screen struct {
	out io.Writer
	// size returns how many columns and rows there are; false: no terminal.
	size  func() (columns, rows int, terminal bool)
	drawn bool
}

func newScreen(out io.Writer) *screen {
	return &screen{out: out, size: func() (int, int, bool) { return terminalSize(out) }}
}

// terminalSize returns the size of the terminal that out is, if it is one.
func terminalSize(out io.Writer) (columns, rows int, terminal bool) {
	file, isFile := out.(*os.File)
	if !isFile {
		return 0, 0, false
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0, false
	}
	return int(size.Col), int(size.Row), true
}

// The words of a terminal.
const (
	goHome     = "\x1b[H"
	clearLine  = "\x1b[K"
	clearBelow = "\x1b[J"
	clearAll   = "\x1b[2J"
)

// draw shows a text. What does not fit on a terminal is left out.
func (s *screen) draw(text string) error {
	columns, rows, terminal := s.size()
	var b bytes.Buffer
	if terminal {
		s.redraw(&b, text, columns, rows)
	} else {
		if s.drawn {
			b.WriteByte('\n')
		}
		b.WriteString(text)
	}
	s.drawn = true
	_, err := s.out.Write(b.Bytes())
	return err
}

// redraw writes over what is there, so that what stays the same does not flicker.
func (s *screen) redraw(b *bytes.Buffer, text string, columns, rows int) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if rows > 1 && len(lines) > rows-1 {
		lines = lines[:rows-1]
	}
	if !s.drawn {
		b.WriteString(clearAll)
	}
	b.WriteString(goHome)
	for _, line := range lines {
		b.WriteString(cut(line, columns) + clearLine + "\r\n")
	}
	b.WriteString(clearBelow)
}

// cut returns the beginning of a line that fits; 0 columns: nobody knows.
func cut(line string, columns int) string {
	if columns == 0 || utf8.RuneCountInString(line) <= columns {
		return line
	}
	return string([]rune(line)[:columns])
}
