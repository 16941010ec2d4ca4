package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxBodyBytes bounds a request's body.
const maxBodyBytes = 1 << 20

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
			respond(w, http.StatusBadRequest, "body: must not be larger than %d bytes, and must arrive whole", maxBodyBytes)
			return
		}
		if err := checkFields(body); err != nil {
			respond(w, http.StatusBadRequest, "body: %s", err)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		// What curl sends by default would make brokerapi read it as a form.
		r.Header.Set("Content-Type", "application/json")
		next.ServeHTTP(w, r)
	})
}

// checkFields checks the types of the fields that OSB requests have.
func checkFields(body []byte) error {
	var fields struct {
		ServiceID        string         `json:"service_id"`
		PlanID           string         `json:"plan_id"`
		OrganizationGUID string         `json:"organization_guid"`
		SpaceGUID        string         `json:"space_guid"`
		AppGUID          string         `json:"app_guid"`
		Context          map[string]any `json:"context"`
		Parameters       map[string]any `json:"parameters"`
		PreviousValues   map[string]any `json:"previous_values"`
		MaintenanceInfo  map[string]any `json:"maintenance_info"`
		BindResource     map[string]any `json:"bind_resource"`
	}
	err := json.Unmarshal(body, &fields)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("field %q must not be a %s", wrong.Field, wrong.Value)
	}
	if err != nil {
		return fmt.Errorf("is not one JSON object: %w", err)
	}
	return nil
}
