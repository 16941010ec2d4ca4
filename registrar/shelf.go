package registrar

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state/copies"
	"github.com/pgpatron/pgpatron/state/sealed"
)

// slots are the files of a volume that hold copies. The older one is written over:
// whenever a write is cut short, the other is whole.
var slots = [2]string{path.Join(patroni.VolumePath, "records.0"), path.Join(patroni.VolumePath, "records.1")}

// shelf is where a node's volume keeps its copy.
type shelf struct {
	// copy is the newest one, raw as it was read or written. There is none if raw
	// is empty.
	copy copies.Copy
	raw  []byte
	// next is the slot that the next one goes to.
	next int
}

// readShelf looks for the newest copy on the volume of a container. One that can
// not be opened counts by its header.
func readShelf(ctx context.Context, d *docker, id string, keys *sealed.Ring) (shelf, error) {
	var s shelf
	for i, name := range slots {
		raw, ok, err := d.readFile(ctx, id, name)
		if err != nil {
			return s, err
		}
		c, err := copies.Decode(raw, keys)
		if !ok || err != nil && !errors.Is(err, copies.ErrSealed) {
			continue // cut short, or never written
		}
		if len(s.raw) == 0 || c.Age.Compare(s.copy.Age) > 0 {
			s = shelf{copy: c, raw: raw, next: 1 - i}
		}
	}
	return s, nil
}

// put writes a copy, for root alone to read.
func (s *shelf) put(ctx context.Context, d *docker, id string, c copies.Copy, keys *sealed.Ring) error {
	raw, err := c.Encode(keys)
	if err != nil {
		return err
	}
	if err := d.copyFile(ctx, id, slots[s.next], raw, 0, 0); err != nil {
		return err
	}
	*s = shelf{copy: c, raw: raw, next: 1 - s.next}
	return nil
}

// behind returns an error if etcd, which is as new as now, is older than the copy.
func (s shelf) behind(now copies.Age) error {
	if len(s.raw) == 0 || s.copy.Age.Compare(now) <= 0 {
		return nil
	}
	return fmt.Errorf("%w: the copy on its volume is of revision %d in era %d, etcd is at %d in %d", errBehind,
		s.copy.Revision, s.copy.Era, now.Revision, now.Era)
}

// errBehind says that etcd knows less than what was copied from it.
var errBehind = errors.New("etcd has lost records, see pgpatron recover")
