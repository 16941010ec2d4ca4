package broker_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/broker"
)

func TestBindingWaitsForTheDatabase(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.provision("i1", singlePlan)
	s.database.setDown(true)
	time.AfterFunc(300*time.Millisecond, func() { s.database.setDown(false) })
	body := map[string]any{"service_id": broker.ServiceID, "plan_id": singlePlan}
	s.want(s.call("PUT", bindingPath("i1", "b1"), body), http.StatusCreated)
	other := map[string]any{"service_id": broker.ServiceID, "plan_id": singlePlan, "app_guid": "app"}
	s.want(s.call("PUT", bindingPath("i1", "b1"), other), http.StatusConflict)
}
