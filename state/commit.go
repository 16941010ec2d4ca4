package state

// commit is one batch's transaction and how it ended: an error, a conflict, or
// a revision.
type commit struct {
	batch    *batch
	revision int64
	conflict *conflict
	err      error
}

func (c *commit) outcome() string {
	switch {
	case c.err != nil:
		return "refused"
	case c.conflict != nil:
		return "conflict"
	}
	return "committed"
}

// conflict is what etcd held instead of what the batch was computed from.
type conflict struct {
	revision int64
	// keys maps each compared key to its ModRevision, 0 if it does not exist.
	keys map[string]int64
}

// contested returns the keys that were not as the batch took them to be.
func (c *commit) contested() map[string]struct{} {
	out := map[string]struct{}{}
	for key, revision := range c.conflict.keys {
		if c.batch.compares[key] != revision {
			out[key] = struct{}{}
		}
	}
	return out
}

// caughtUp reports whether the picture is at least as new as the conflict.
func (c *commit) caughtUp(s *store) bool {
	for key, found := range c.conflict.keys {
		if !c.knows(s, key, found) {
			return false
		}
	}
	return true
}

// knows reports whether the picture has key as it was found, or newer. A key
// that came or went later shows by its own revision or by the picture's.
func (c *commit) knows(s *store, key string, found int64) bool {
	kv, _ := s.get(key)
	have := kv.ModRevision
	switch {
	case have == found, have > c.conflict.revision:
		return true
	case have == 0:
		return s.revision > found
	default:
		return found != 0 && have > found
	}
}
