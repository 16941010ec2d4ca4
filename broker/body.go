package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/pivotal-cf/brokerapi/v10/domain"
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
		predecessor, err := checkFields(body)
		if err != nil {
			respond(w, http.StatusBadRequest, "body: %s", err)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), predecessorKey{}, predecessor))
		r.Body = io.NopCloser(bytes.NewReader(body))
		// What curl sends by default would make brokerapi read it as a form.
		r.Header.Set("Content-Type", "application/json")
		next.ServeHTTP(w, r)
	})
}

// checkFields checks the types of the fields that OSB requests have. It returns
// the one that brokerapi v10 does not know: the id of the binding that a new one
// is to replace.
func checkFields(body []byte) (predecessor string, err error) {
	var fields struct {
		ServiceID            string                  `json:"service_id"`
		PlanID               string                  `json:"plan_id"`
		OrganizationGUID     string                  `json:"organization_guid"`
		SpaceGUID            string                  `json:"space_guid"`
		AppGUID              string                  `json:"app_guid"`
		Context              map[string]any          `json:"context"`
		Parameters           map[string]any          `json:"parameters"`
		PreviousValues       domain.PreviousValues   `json:"previous_values"`
		MaintenanceInfo      *domain.MaintenanceInfo `json:"maintenance_info"`
		BindResource         *domain.BindResource    `json:"bind_resource"`
		PredecessorBindingID *string                 `json:"predecessor_binding_id"`
	}
	err = json.Unmarshal(body, &fields)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return "", fmt.Errorf("field %q must not be a %s", wrong.Field, wrong.Value)
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("is not one JSON object: %w", err)
	case fields.PredecessorBindingID == nil:
		return "", nil
	case *fields.PredecessorBindingID == "":
		return "", errors.New(`field "predecessor_binding_id" must not be empty`)
	}
	return *fields.PredecessorBindingID, nil
}

type predecessorKey struct{}

// predecessorOf returns the id of the binding that the request of ctx wants to
// replace, "" if none.
func predecessorOf(ctx context.Context) string {
	id, _ := ctx.Value(predecessorKey{}).(string)
	return id
}
