package registrar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state/sealed"
)

// A node's certificate comes to it as its passwords do: in a file in its volume,
// never by Docker's own words. A container gets it before each start, and while it
// runs when the certificate, or what the record says of TLS, is another one; then it
// is told to look, and PostgreSQL reads it without a restart.

// deafness is how long after its start a container is told nothing: the signal would
// end a program that has not asked for it yet.
const deafness = 3 * time.Second

// handed is what a container has been given for TLS.
type handed struct {
	container string
	tls       patroni.ServerTLS
}

// due returns what a container is still to be given, if there is something.
func (w *worker) due(g goal, id string) (tls patroni.ServerTLS, due bool, err error) {
	if g.certificate.Certificate == "" {
		return tls, false, nil
	}
	if sealed.IsSealed(g.certificate.PrivateKey.Reveal()) {
		return tls, false, errors.New("the node's certificate is sealed: give this registrar the record_key_file of the brokers")
	}
	tls = patroni.ServerTLS{
		Certificate: g.certificate.Certificate, PrivateKey: g.certificate.PrivateKey, Required: g.cluster.RequireTLS,
	}
	return tls, w.handed != handed{id, tls}, nil
}

// hand gives a container what it is still to be given.
func (w *worker) hand(ctx context.Context, g goal, id string) error {
	tls, due, err := w.due(g, id)
	if err != nil || !due {
		return err
	}
	content, err := tls.Encode()
	if err != nil {
		return fmt.Errorf("encoding what the node speaks TLS with: %w", err)
	}
	if err := w.docker.copyFile(ctx, id, patroni.TLSFile, content, patroni.NodeUID, patroni.NodeGID); err != nil {
		return err
	}
	w.handed = handed{id, tls}
	return nil
}

// certify sees to it that a container that runs has the node's certificate. One that
// can not be given it serves on with what it has. Its death is dealt with at once.
func (w *worker) certify(ctx context.Context, g goal, c container) (time.Duration, error) {
	_, due, err := w.due(g, c.id)
	if err == nil && !due {
		return time.Hour, nil
	}
	if rest := min(deafness-time.Since(c.startedAt), deafness); rest > 0 {
		return rest, nil
	}
	if err == nil {
		err = w.whileRunning(ctx, c, func(ctx context.Context) error { return w.exchange(ctx, g, c) })
	}
	switch {
	case err == nil:
		return time.Hour, nil
	case errors.Is(err, errDied), ctx.Err() != nil:
		return 0, nil
	}
	w.log.WarnContext(ctx, "giving the node its certificate, will retry", "wait", retryLimit, "err", err)
	return retryLimit, nil // no failure: that would keep news of a death waiting
}

// exchange gives a container that runs the node's certificate, and tells it to look.
func (w *worker) exchange(ctx context.Context, g goal, c container) error {
	if err := w.hand(ctx, g, c.id); err != nil {
		return err
	}
	if err := w.docker.reload(ctx, c.id); err != nil {
		w.handed = handed{} // it has the file and does not know
		return err
	}
	w.log.InfoContext(ctx, "node has another certificate", "container", c.id,
		"certificate", patroni.CertificateTag(g.certificate.Certificate), "expires", g.certificate.Expires)
	return nil
}
