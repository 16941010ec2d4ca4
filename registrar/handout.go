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
// never by Docker's own words. A container gets both before each start, and while it
// runs when the certificate, what the record says of TLS, or the passwords are others;
// then it is told to look, and neither PostgreSQL nor Patroni is restarted.

// deafness is how long after its start a container is told nothing: the signal would
// end a program that has not asked for it yet.
const deafness = 3 * time.Second

// handed is what a container has been given.
type handed struct {
	container string
	tls       patroni.ServerTLS
	passwords patroni.Passwords
}

// had returns what a container has been given, as far as is known here.
func (w *worker) had(id string) handed {
	if w.handed.container != id {
		return handed{container: id}
	}
	return w.handed
}

// due returns what a container is to have, and whether it is still to be given some
// of that. What can not be had is as it was.
func (w *worker) due(g goal, id string) (what handed, due bool, err error) {
	had := w.had(id)
	what = had
	var errTLS, errPasswords error
	if what.tls, errTLS = g.tls(); errTLS != nil {
		what.tls = had.tls
	}
	if g.cluster.LoginEdition != 0 { // before, they are those of its NodeConfig
		if errPasswords = opened(g.cluster); errPasswords == nil {
			what.passwords = patroni.PasswordsOf(g.cluster)
		}
	}
	return what, what != had, errors.Join(errTLS, errPasswords)
}

// tls returns what the node's server is to speak TLS with.
func (g goal) tls() (patroni.ServerTLS, error) {
	switch c := g.certificate; {
	case c.Certificate == "":
		return patroni.ServerTLS{}, nil
	case sealed.IsSealed(c.PrivateKey.Reveal()):
		return patroni.ServerTLS{}, errors.New("the node's certificate is sealed: give this registrar the record_key_file of the brokers")
	default:
		return patroni.ServerTLS{Certificate: c.Certificate, PrivateKey: c.PrivateKey, Required: g.cluster.RequireTLS}, nil
	}
}

// hand gives a container what it is still to be given, as far as that can be had.
func (w *worker) hand(ctx context.Context, g goal, id string) error {
	what, _, err := w.due(g, id)
	return errors.Join(err, w.put(ctx, id, what))
}

// put puts into a container's volume what it has not been given.
func (w *worker) put(ctx context.Context, id string, what handed) error {
	had := w.had(id)
	if what.passwords != had.passwords {
		if err := w.putFile(ctx, id, patroni.PasswordsFile, what.passwords); err != nil {
			return err
		}
		had.passwords = what.passwords
		w.handed = had
	}
	if what.tls != had.tls && what.tls.On() {
		if err := w.putFile(ctx, id, patroni.TLSFile, what.tls); err != nil {
			return err
		}
	}
	w.handed = what
	return nil
}

// putFile puts a file into a container's volume, for the node alone to read.
func (w *worker) putFile(ctx context.Context, id, name string, content interface{ Encode() ([]byte, error) }) error {
	b, err := content.Encode()
	if err != nil {
		return fmt.Errorf("encoding %s: %w", name, err)
	}
	return w.docker.copyFile(ctx, id, name, b, patroni.NodeUID, patroni.NodeGID)
}

// furnish sees to it that a container that runs has the node's certificate and
// passwords. One that can not be given them serves on with what it has. Its death is
// dealt with at once.
func (w *worker) furnish(ctx context.Context, g goal, c container) (time.Duration, error) {
	_, due, err := w.due(g, c.id)
	if err == nil && !due {
		return time.Hour, nil
	}
	if rest := min(deafness-time.Since(c.startedAt), deafness); rest > 0 {
		return rest, nil
	}
	if due {
		err = errors.Join(w.whileRunning(ctx, c, func(ctx context.Context) error { return w.exchange(ctx, g, c) }), err)
	}
	switch {
	case err == nil:
		return time.Hour, nil
	case errors.Is(err, errDied), ctx.Err() != nil:
		return 0, nil
	}
	w.log.WarnContext(ctx, "giving the node its certificate and passwords, will retry", "wait", retryLimit, "err", err)
	return retryLimit, nil // no failure: that would keep news of a death waiting
}

// exchange gives a container that runs what it is to have, and tells it to look.
func (w *worker) exchange(ctx context.Context, g goal, c container) error {
	what, _, _ := w.due(g, c.id)
	err := w.put(ctx, c.id, what)
	if err == nil {
		err = w.docker.reload(ctx, c.id)
	}
	if err != nil {
		w.handed = handed{} // it may have the files and not know
		return err
	}
	w.log.InfoContext(ctx, "node has another certificate, or other passwords", "container", c.id,
		"certificate", patroni.CertificateTag(g.certificate.Certificate), "expires", g.certificate.Expires, "passwords", g.cluster.LoginEdition)
	return nil
}
