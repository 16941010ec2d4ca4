package sealed

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// rereadEvery is how often a Ring looks whether its file has changed.
const rereadEvery = time.Second

// Ring holds the keys of a file: the first one seals, each of them opens. It
// prints as nothing. A nil Ring has no keys, and may run.
type Ring struct {
	file File
	log  *slog.Logger

	// mu guards the rest: the keys, by their lines too, and the ids of those that
	// were missed.
	mu     sync.Mutex
	keys   []Key
	byLine map[string]Key
	missed map[string]bool
}

// NewRing returns a ring of fixed keys, of which there is at least one.
func NewRing(keys ...Key) *Ring {
	return &Ring{log: slog.Default(), keys: keys, missed: map[string]bool{}}
}

// Open reads the keys of a file. Run has them read again when it changes. log,
// which may be nil, is told of that, and of keys that are missing.
func Open(ctx context.Context, file File, log *slog.Logger) (*Ring, error) {
	if log == nil {
		log = slog.Default()
	}
	r := &Ring{file: file, log: log.With("setting", file.Setting, "file", file.Path), missed: map[string]bool{}}
	_, err := r.read(ctx)
	return r, err
}

// String hides the keys.
func (*Ring) String() string { return "[redacted]" }

// GoString hides the keys.
func (*Ring) GoString() string { return "[redacted]" }

// Run takes in what changes in the file until ctx ends. While the file is missing
// or has a fault, the keys from before hold.
func (r *Ring) Run(ctx context.Context) error {
	if r == nil {
		return nil
	}
	tick := time.NewTicker(rereadEvery)
	defer tick.Stop()
	for fault := ""; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		changed, err := r.read(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil && err.Error() != fault:
			r.log.ErrorContext(ctx, "reading keys, the old ones hold", "err", err)
		case changed:
			r.log.InfoContext(ctx, "keys have changed", "keys", r.ids())
		}
		fault = fmt.Sprint(err)
	}
}

// read takes in the file as it is now.
func (r *Ring) read(ctx context.Context) (changed bool, err error) {
	r.mu.Lock()
	known := r.byLine
	r.mu.Unlock()
	keys, byLine, err := r.file.read(ctx, known)
	if err != nil {
		return false, err
	}
	before := r.ids()
	r.mu.Lock()
	r.keys, r.byLine = keys, byLine
	r.mu.Unlock()
	if changed = r.ids() != before; changed {
		r.forgive()
	}
	return changed, nil
}

// Keys returns the keys as they are now, the one that seals first.
func (r *Ring) Keys() []Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys
}

func (r *Ring) ids() string {
	var ids []string
	for _, k := range r.Keys() {
		ids = append(ids, k.id)
	}
	return strings.Join(ids, ", ")
}

// Seal closes a secret for one place, and says under which key: it opens nowhere
// else.
func (r *Ring) Seal(secret state.Secret, place string) (sealed []byte, by string) {
	k := r.Keys()[0]
	return k.seal([]byte(secret.Reveal()), place), k.id
}

// Open opens what Seal closed for that place. by may be empty, if nobody has said
// under which key. Of a key that is not here the error is a [MissingKeyError].
func (r *Ring) Open(sealed []byte, by, place string) (state.Secret, error) {
	here := false
	for _, k := range r.Keys() {
		if by != "" && by != k.id {
			continue
		}
		here = true
		if plain, err := k.open(sealed, place); err == nil {
			return state.Secret(plain), nil
		}
	}
	if here && by != "" {
		return "", fmt.Errorf("opening the secret of %s: changed since it was sealed under key %s", place, by)
	}
	return "", &MissingKeyError{Place: place, Key: by, Where: r.Where(), Here: r.ids()}
}

// Where says where the keys come from.
func (r *Ring) Where() string {
	if r.file.Path == "" {
		return "the keys given"
	}
	return r.file.Setting + " " + r.file.Path
}

// miss tells of a record that can not be opened, once for each key.
func (r *Ring) miss(by string, err error) {
	r.mu.Lock()
	told := r.missed[by]
	r.missed[by] = true
	r.mu.Unlock()
	if !told {
		r.log.Error("a sealed record can not be opened", "key", by, "err", err)
	}
}

// forgive has keys told of again that are missing now.
func (r *Ring) forgive() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.missed)
}

// MissingKeyError says that a secret is sealed under a key that is not here.
type MissingKeyError struct {
	// Place is where the secret is.
	Place string
	// Key is the key's id, empty if the record does not say it.
	Key string
	// Where says where it was looked for, and Here which keys are there.
	Where, Here string
}

// Error names the key that is missing.
func (e *MissingKeyError) Error() string {
	key := "under another key"
	if e.Key != "" {
		key = "under key " + e.Key
	}
	return fmt.Sprintf("opening the secret of %s: sealed %s, which is not in %s (there are: %s)", e.Place, key, e.Where, e.Here)
}
