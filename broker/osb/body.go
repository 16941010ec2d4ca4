package osb

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/pivotal-cf/brokerapi/v10/domain"
)

// maxBodyBytes bounds a request's body.
const maxBodyBytes = 1 << 20

// maxContextBytes bounds the platform's context of an instance or a binding:
// it is kept in etcd, where a record must not be larger than a transaction.
const maxContextBytes = 64 << 10

// checkBody refuses bodies that brokerapi would take for something else: too
// large ones, what is not exactly one JSON object, and fields of a wrong type.
func checkBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut && r.Method != http.MethodPatch {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
		if err != nil {
			Respond(w, http.StatusBadRequest, "body: must not be larger than %d bytes, and must arrive whole", maxBodyBytes)
			return
		}
		given, err := parseFields(body)
		if err != nil {
			Respond(w, http.StatusBadRequest, "body: %s", err)
			return
		}
		if id := given.PredecessorBindingID; id != nil {
			r = r.WithContext(context.WithValue(r.Context(), predecessorKey{}, *id))
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		// What curl sends by default would make brokerapi read it as a form.
		r.Header.Set("Content-Type", "application/json")
		next.ServeHTTP(w, r)
	})
}

// fields are those that OSB requests have.
type fields struct {
	ServiceID        string                  `json:"service_id"`
	PlanID           string                  `json:"plan_id"`
	OrganizationGUID string                  `json:"organization_guid"`
	SpaceGUID        string                  `json:"space_guid"`
	AppGUID          string                  `json:"app_guid"`
	Context          object                  `json:"context"`
	Parameters       object                  `json:"parameters"`
	PreviousValues   domain.PreviousValues   `json:"previous_values"`
	MaintenanceInfo  *domain.MaintenanceInfo `json:"maintenance_info"`
	BindResource     domain.BindResource     `json:"bind_resource"`
	// PredecessorBindingID is the binding that a new one is to replace.
	// brokerapi v10 does not know the field.
	PredecessorBindingID *string `json:"predecessor_binding_id"`
}

// parseFields reads the fields and checks what can be checked without knowing
// the request: whether one must be there depends on it.
func parseFields(body []byte) (fields, error) {
	var f fields
	err := json.Unmarshal(body, &f)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return f, fmt.Errorf("field %q must not be of type %s", wrong.Field, wrong.Value)
	}
	if err != nil {
		return f, fmt.Errorf("is not one JSON object: %w", err)
	}
	if len(f.Context.raw) > maxContextBytes {
		return f, fmt.Errorf(`field "context" must not be larger than %d bytes`, maxContextBytes)
	}
	return f, f.checkIDs()
}

// checkIDs checks the ids that are given.
func (f fields) checkIDs() error {
	for _, id := range [][2]string{
		{"organization_guid", f.OrganizationGUID},
		{"space_guid", f.SpaceGUID},
		{"app_guid", cmp.Or(f.AppGUID, f.BindResource.AppGuid)},
	} {
		if id[1] == "" {
			continue
		}
		if err := checkID(id[0], id[1]); err != nil {
			return err
		}
	}
	if f.PredecessorBindingID == nil {
		return nil
	}
	return checkID("predecessor_binding_id", *f.PredecessorBindingID)
}

// object is a JSON object, or nothing, as it was sent.
type object struct{ raw json.RawMessage }

// UnmarshalJSON takes an object or null.
func (o *object) UnmarshalJSON(raw []byte) error {
	var members map[string]json.RawMessage
	o.raw = slices.Clone(raw)
	return json.Unmarshal(raw, &members)
}

type predecessorKey struct{}

// PredecessorOf returns the id of the binding that the request of ctx wants to
// replace, "" if none.
func PredecessorOf(ctx context.Context) string {
	id, _ := ctx.Value(predecessorKey{}).(string)
	return id
}
