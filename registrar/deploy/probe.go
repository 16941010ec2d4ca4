package deploy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgpatron/pgpatron/registrar/registry"
)

const (
	// probeTimeout is how long an instance may take to answer a probe.
	probeTimeout = 2 * time.Second
	// A healthy instance is probed every calmInterval, any other one every
	// eagerInterval.
	calmInterval  = 5 * time.Second
	eagerInterval = 250 * time.Millisecond
)

// verdict is what a probe found.
type verdict struct {
	status  registry.InstanceStatus
	details string
}

// next is when to probe again.
func (v verdict) next() time.Duration {
	if v.status == registry.InstanceHealthy {
		return calmInterval
	}
	return eagerInterval
}

// prober asks instances whether they are well.
type prober struct {
	http *http.Client
}

// newProber returns a prober. Each probe has a connection of its own: one that
// is kept would tell nothing of the next caller's chances.
func newProber() *prober {
	return &prober{http: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// probe asks the instance in the way of its scheme.
func (p *prober) probe(ctx context.Context, in registry.Instance) verdict {
	if in.Port == 0 {
		return verdict{registry.InstanceHealthy, ""} // it runs, and listens nowhere
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", in.Address())
	if err != nil {
		return verdict{registry.InstanceUnreachable, err.Error()}
	}
	defer conn.Close()
	switch in.Scheme {
	case registry.SchemeHTTP, registry.SchemeHTTPS:
		return p.probeHTTP(ctx, in)
	case registry.SchemePostgreSQL, "postgres":
		deadline, _ := ctx.Deadline()
		_ = conn.SetDeadline(deadline) // a connection that is broken says so when it is read
		return probePostgreSQL(conn)
	}
	return verdict{registry.InstanceHealthy, ""}
}

// probeHTTP asks for the instance's path. Any answer but a server's own error
// shows that it works: whether the path is there is the service's business.
func (p *prober) probeHTTP(ctx context.Context, in registry.Instance) verdict {
	path := in.Path
	if path == "" {
		path = "/"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, in.Scheme+"://"+in.Address()+path, nil)
	if err != nil {
		return verdict{registry.InstanceError, err.Error()}
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return verdict{registry.InstanceDegraded, "accepts connections but does not answer: " + err.Error()}
	}
	resp.Body.Close()
	if resp.StatusCode >= http.StatusInternalServerError {
		return verdict{registry.InstanceDegraded, "answers " + resp.Status}
	}
	return verdict{registry.InstanceHealthy, ""}
}

// cannotConnectNow is the SQLSTATE of a server that starts or stops.
const cannotConnectNow = "57P03"

// probePostgreSQL does what pg_isready does: it begins a session and sees
// whether the server asks for a login, or refuses it for any reason but that it
// is not ready.
func probePostgreSQL(conn net.Conn) verdict {
	frontend := pgproto3.NewFrontend(conn, conn)
	frontend.Send(&pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersionNumber, Parameters: map[string]string{"user": "probe", "database": "postgres"},
	})
	err := frontend.Flush()
	var answer pgproto3.BackendMessage
	if err == nil {
		answer, err = frontend.Receive()
	}
	if err != nil {
		return verdict{registry.InstanceDegraded, "accepts connections but does not answer: " + err.Error()}
	}
	if refusal, ok := answer.(*pgproto3.ErrorResponse); ok && refusal.Code == cannotConnectNow {
		return verdict{registry.InstanceDegraded, fmt.Sprintf("is not ready: %s", refusal.Message)}
	}
	return verdict{registry.InstanceHealthy, ""}
}
