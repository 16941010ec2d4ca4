package osb

import "testing"

// Whatever stands in a body, it is read or refused, and what is taken from it
// can be part of a key.
func FuzzFields(f *testing.F) {
	f.Add([]byte(`{"service_id":"s","plan_id":"p","organization_guid":"o","space_guid":"s","context":{},"parameters":{"a":1}}`))
	f.Add([]byte(`{"predecessor_binding_id":"b","bind_resource":{"app_guid":"a"},"maintenance_info":{"version":"1"}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, body []byte) {
		given, err := parseFields(body)
		if err != nil {
			return
		}
		if id := given.PredecessorBindingID; id != nil && checkID("id", *id) != nil {
			t.Errorf("took %q as an id", *id)
		}
		if len(given.Context.raw) > maxContextBytes {
			t.Errorf("took a context of %d bytes", len(given.Context.raw))
		}
	})
}
