package router

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	// refuseTimeout bounds the whole refusal.
	refuseTimeout = 5 * time.Second
	// lastWords is how long a refused client has to hang up by itself.
	lastWords = time.Second
)

// PostgreSQL's codes for what may be wrong.
const (
	codeCannotConnect = "57P03" // cannot_connect_now
	codeTooMany       = "53300" // too_many_connections
)

// refusal is why a client is not served.
type refusal struct {
	// reason is the metric's word, code PostgreSQL's.
	reason, code string
	// message is told, with the names for {database} and {instance}.
	message string
	// cancels is whether requests to cancel are passed on nevertheless.
	cancels bool
	// counted is whether the client has a place among those who are served, and
	// needs none among those who are refused.
	counted bool
}

// refuse tells a client in PostgreSQL's words why it is not served, and closes
// its connection.
func (p *plane) refuse(s *session, why refusal) {
	p.metrics.refusals.WithLabelValues(why.reason).Inc()
	if !why.counted {
		if !below(&p.limits.refusing, refusalsAtOnce) {
			resetFD(s.client.fd)
			return
		}
		defer p.limits.refusing.Add(-1)
	}
	client, err := tcpConn(s.client.fd)
	if err == nil {
		err = p.explain(client, s, why)
	}
	if err != nil {
		s.home.logger().Debug("refusing a connection", "err", err)
	}
}

func (p *plane) explain(client *net.TCPConn, s *session, why refusal) error {
	defer client.Close()
	if err := client.SetDeadline(time.Now().Add(refuseTimeout)); err != nil {
		return err
	}
	stop := context.AfterFunc(p.ctx, func() { reset(client) })
	defer stop()
	startup, err := readStartup(client)
	if errors.Is(err, errCancel) && why.cancels {
		return p.passCancel(s, startup.cancel)
	}
	if err != nil {
		return fmt.Errorf("reading the startup packet: %w", err)
	}
	if _, err := client.Write(why.encode(startup.database, s.home.instance)); err != nil {
		return err
	}
	return partFrom(client)
}

// encode returns the error that a client gets.
func (why refusal) encode(database, instance string) []byte {
	answer := pgproto3.ErrorResponse{
		Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: why.code,
		Message: strings.NewReplacer("{database}", strconv.Quote(database), "{instance}", instance).Replace(why.message),
	}
	// It has no fields that could fail to be encoded.
	encoded, _ := answer.Encode(nil)
	return encoded
}

// passCancel takes a request to cancel to the leader, or to every replica: who
// gets no other session must be able to end what those that he has do.
func (p *plane) passCancel(s *session, packet []byte) error {
	if s.reading == nil {
		return p.cancel(s.home.current(), packet)
	}
	var reigns []*reign
	s.reading.eachRoute(func(r *route) { reigns = append(reigns, r.current()) })
	var errs []error
	for _, g := range reigns {
		errs = append(errs, p.cancel(g, packet))
	}
	return errors.Join(errs...)
}

// cancel takes a request to cancel to one server, which ignores what it does not
// know.
func (p *plane) cancel(g *reign, packet []byte) error {
	if !g.isReady() {
		return errReignOver
	}
	dialer := net.Dialer{Timeout: p.cfg.DialTimeout}
	server, err := dialer.DialContext(g.ctx, "tcp", g.target.String())
	if err != nil {
		return err
	}
	defer server.Close()
	if err := server.SetDeadline(time.Now().Add(refuseTimeout)); err != nil {
		return err
	}
	if _, err := server.Write(packet); err != nil {
		return err
	}
	// The server answers with the end of the connection, once it has looked.
	_, err = io.Copy(io.Discard, server)
	return err
}

// partFrom waits until the client has hung up: closing while something unread
// has come would send a reset, which may overtake the answer.
func partFrom(client *net.TCPConn) error {
	if err := client.CloseWrite(); err != nil {
		return err
	}
	if err := client.SetReadDeadline(time.Now().Add(lastWords)); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, io.LimitReader(client, maxStartup))
	return err
}

// reset ends a connection with RST.
func reset(conn *net.TCPConn) {
	// Both fail only on a connection that has ended already.
	_ = conn.SetLinger(0)
	_ = conn.Close()
}
