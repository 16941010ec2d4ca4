//go:build system

package registrar_test

import (
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"

	"github.com/pgpatron/pgpatron/state"
)

// A real container of a stranger is announced where Docker published it, and
// under its new port when it is started again.
func TestStrangerOnDocker(t *testing.T) {
	e := newEngine(t)
	standIn := e.standIn(t)
	s := e.site(t)
	labels := map[string]string{"pgpatron.host": testHost, "pgpatron.announce": "5432,name=shop"}
	created, err := e.ContainerCreate(t.Context(),
		&container.Config{Image: standIn, Labels: labels, ExposedPorts: nat.PortSet{"5432/tcp": {}}},
		&container.HostConfig{PortBindings: nat.PortMap{"5432/tcp": {{}}}}, // any address, any port
		nil, nil, "pgpatron-test-stranger")
	if err != nil {
		t.Fatal(err)
	}
	key := state.AnnouncementKey("shop", testHost, "pgpatron-test-stranger", 5432)
	for range 2 {
		if err := e.ContainerStart(t.Context(), created.ID, container.StartOptions{}); err != nil {
			t.Fatal(err)
		}
		info, err := e.ContainerInspect(t.Context(), created.ID)
		if err != nil {
			t.Fatal(err)
		}
		want := e.gateway.String() + ":" + info.NetworkSettings.Ports["5432/tcp"][0].HostPort
		s.await("it is announced at "+want, func() bool { v, _ := s.value(key); return v == want })
		e.kill(t, created.ID)
		s.await("it is not announced", func() bool { v, _ := s.value(key); return v == "" })
	}
}
