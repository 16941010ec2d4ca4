package router_test

import (
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/router"
)

// Where the kernel can not be used, auto serves in user space and says why.
func TestAutoPlaneSaysWhyItIsNotTheKernel(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, _, _ := s.cluster("a")
	r := s.start(router.Config{DataPlane: router.AutoPlane, Listen: loopback})
	eventually(t, "a plane is chosen", func() bool { return strings.Contains(r.Health().DataPlane.Reason, "route_localnet") })
	if got := r.Health().DataPlane.Plane; got != router.UserPlane {
		t.Errorf("plane is %q, want %q", got, router.UserPlane)
	}
	if got := ask(t, open(t, port), "who"); got != "a-n1" {
		t.Errorf("session reaches %s, want a-n1", got)
	}
	if got := r.metric(t, `pgpatron_router_data_plane{plane="user",reason="`+r.Health().DataPlane.Reason+`"}`); got != 1 {
		t.Errorf("the metric of the plane is %v, want 1", got)
	}
}

func TestKernelPlaneOrNothing(t *testing.T) {
	t.Parallel()
	r, err := router.New(router.Config{
		IP: loopback, Listen: loopback, Metrics: "127.0.0.1:0", DataPlane: router.KernelPlane, Log: fixtures.Log(t),
	}, fixtures.Etcd(t))
	if err != nil {
		t.Fatal(err)
	}
	err = r.Run(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "router.data_plane: the kernel can not be used: ") {
		t.Errorf("Run returned %v, want an error that says why the kernel can not be used", err)
	}
}

// A leader may be found ready just when its port has been given up.
func TestOfferWithoutLane(t *testing.T) {
	t.Parallel()
	router.OfferWithoutLane(t)
}
