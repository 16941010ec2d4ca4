package osb

import (
	"net/url"
	"unicode"
	"unicode/utf8"
)

// maxIDBytes bounds the ids that platforms give.
const maxIDBytes = 255

// ParseID takes an id out of a path segment, in which it is percent-encoded.
// It is done once, here: everywhere else an id is what the platform meant.
func ParseID(name, segment string) (string, error) {
	id, err := url.PathUnescape(segment)
	if err != nil {
		return "", BadRequest("%s: is not percent-encoded right", name)
	}
	return id, checkID(name, id)
}

func checkID(name, id string) error {
	switch {
	case id == "":
		return BadRequest("%s: must not be empty", name)
	case len(id) > maxIDBytes:
		return BadRequest("%s: must not be longer than %d bytes, has %d", name, maxIDBytes, len(id))
	case !utf8.ValidString(id):
		return BadRequest("%s: must be UTF-8", name)
	}
	for _, r := range id {
		if unicode.IsControl(r) {
			return BadRequest("%s: must not hold control characters", name)
		}
	}
	return nil
}

// ParseIDs takes the ids out of a binding's path.
func ParseIDs(instanceSegment, bindingSegment string) (id, bid string, err error) {
	id, errID := ParseID("instance_id", instanceSegment)
	bid, errBid := ParseID("binding_id", bindingSegment)
	if errID != nil {
		return "", "", errID
	}
	return id, bid, errBid
}
