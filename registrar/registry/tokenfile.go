package registry

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
)

// TokenFile is a file of tokens, as ParseTokens reads it, that may be changed
// while it is in use. Whoever changes it best renames a whole file to its name.
type TokenFile struct {
	path string
	log  *slog.Logger

	// mu guards what was read last: the text, its fault, and the tokens of the
	// last text that had none.
	mu     sync.Mutex
	text   string
	fault  string
	tokens Tokens
}

// OpenTokenFile reads a file of tokens, which must be there and have no fault.
// log, which may be nil, is told of faults that come later.
func OpenTokenFile(path string, log *slog.Logger) (*TokenFile, error) {
	if log == nil {
		log = slog.Default()
	}
	f := &TokenFile{path: path, log: log}
	return f, f.read()
}

// Tokens returns the file's tokens as they are now. While the file is missing,
// or has a fault, they are those it had before.
func (f *TokenFile) Tokens() Tokens {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.read(); err != nil && err.Error() != f.fault {
		f.fault = err.Error()
		f.log.Error("reading the registry's tokens, the old ones hold", "err", err)
	}
	return f.tokens
}

// read takes in what has changed.
func (f *TokenFile) read() error {
	b, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	if string(b) == f.text {
		return nil
	}
	f.text, f.fault = string(b), ""
	tokens, err := ParseTokens(f.text)
	if err != nil {
		return fmt.Errorf("%s:\n%w", f.path, err)
	}
	f.tokens = tokens
	return nil
}
