package state

import (
	"errors"
	"fmt"
	"strconv"
)

// RecordVersion is the latest version of records that this program knows, and the
// one that it writes. It is raised when an earlier program would misread a record,
// or lose something by writing it; not for a field that is merely added.
const RecordVersion = 1

// TooNewError says that there are records here that a later program has written.
type TooNewError struct {
	// Version is theirs, 0 if it can not be told.
	Version int
}

// Error names both versions, and what to do.
func (e *TooNewError) Error() string {
	theirs := "a version that it can not read"
	if e.Version != 0 {
		theirs = fmt.Sprintf("version %d", e.Version)
	}
	return fmt.Sprintf("this pgpatron knows records up to version %d, the site's are of %s: it changes nothing; install the pgpatron here that the site was upgraded to",
		RecordVersion, theirs)
}

// checkVersion returns a TooNewError for records of a version that is too new.
func checkVersion(version int) error {
	if version > RecordVersion {
		return &TooNewError{Version: version}
	}
	return nil
}

// Format is the version of the site's records, as FormatKey has it: no process
// that only knows earlier ones may change any. A site without the key is of
// version 1.
type Format struct{ table *Table[int] }

// NewFormat adds the site's version to a schema.
func NewFormat(s *Schema) *Format { return &Format{Register(s, FormatPattern, Integer)} }

// Check returns a TooNewError if the site's records are too new for this program.
// It may be called where the picture is held still.
func (f *Format) Check() error {
	found, _ := f.table.Get()
	return checkVersion(found.Value)
}

// Heed makes a transaction depend on the site's records not being too new, and
// returns a TooNewError if they are.
func (f *Format) Heed(tx *Tx) error {
	site, _, err := Load(tx, FormatKey(), Integer)
	if err != nil {
		return errors.Join(&TooNewError{}, err)
	}
	return checkVersion(site)
}

// Admitted returns apply for whoever writes records: it heeds the site's version,
// and if apply does its work, makes this program's the site's, so that no program
// that only knows earlier ones changes anything from then on.
func (f *Format) Admitted(apply func(tx *Tx) error) func(tx *Tx) error {
	return func(tx *Tx) error {
		if err := f.Heed(tx); err != nil {
			return err
		}
		if err := apply(tx); err != nil {
			return err
		}
		if kv, _ := tx.Get(FormatKey()); string(kv.Value) != strconv.Itoa(RecordVersion) {
			tx.Put(FormatKey(), []byte(strconv.Itoa(RecordVersion)))
		}
		return nil
	}
}

// AdmittedAll is Admitted for groups. Those that are refused are skipped.
func (f *Format) AdmittedAll(groups []Group) []Group {
	for i := range groups {
		apply := f.Admitted(groups[i].Apply)
		groups[i].Apply = func(tx *Tx) error {
			err := apply(tx)
			if _, refused := errors.AsType[*TooNewError](err); refused {
				return errors.Join(ErrSkip, err)
			}
			return err
		}
	}
	return groups
}
