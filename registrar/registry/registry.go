// Package registry is the registry of a site: its nodes (hosts), definitions
// (what can be run), deployments (how many of it, and how) and instances (what
// runs, and where it is reached). It holds the records, their rules and the
// HTTP API; package deploy makes the instances be there.
//
//	api, err := registry.NewAPI(registry.Config{Self: backend, Tokens: file.Tokens}, engine, tables)
//	if err != nil {
//		return err
//	}
//	http.ListenAndServe(addr, api.Handler())
//
// Databases show up like any other service, as views of what the broker, the
// registrars and Patroni write: a plan's container is a definition, a cluster a
// deployment, a node of it an instance whose slug is the instance id. Nothing
// of them is copied, and only the broker changes them.
package registry

import "regexp"

// id is what the registry takes for an id or a slug.
var id = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

// validID returns what is wrong with an id, nil if nothing is.
func validID(field, value string) error {
	if value == "" {
		return FieldError{field, "must be set"}
	}
	if !id.MatchString(value) {
		return FieldError{field, "must be letters, digits and .-_: (128 at most)"}
	}
	return nil
}

// FieldError says what is wrong with one field of a request.
type FieldError struct {
	// Field is the field's path, such as image.internalPorts[0].
	Field  string
	Reason string
}

// Error spells field and reason.
func (e FieldError) Error() string { return e.Field + ": " + e.Reason }
