package smoke

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/jackc/pgx/v5"
)

// Login is what an application is bound with.
type Login struct {
	URI string `json:"uri"`
	// CACertificate is what servers are verified by, as PEM text; empty where they
	// speak plain.
	CACertificate string `json:"ca_certificate"`
}

// connect opens a session. Where the login says by what, the server is verified.
// Errors hold no password: pgx leaves it out.
func (l Login) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(l.URI)
	if err != nil {
		return nil, err
	}
	if l.CACertificate != "" {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(l.CACertificate)) {
			return nil, errors.New("ca_certificate holds no certificate")
		}
		cfg.TLSConfig = &tls.Config{RootCAs: roots, ServerName: cfg.Host, MinVersion: tls.VersionTLS12}
		cfg.Fallbacks = nil
	}
	return pgx.ConnectConfig(ctx, cfg)
}
