package state

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Access is how a process reaches the site's etcd, and as whom.
type Access struct {
	// Endpoints are host:port addresses or URLs.
	Endpoints []string
	// CAFile is a PEM file with the authorities whose certificates etcd may show.
	// With it, or with https URLs, connections are encrypted; without it those of
	// the host are trusted.
	CAFile string
	// CertFile and KeyFile are this process's own certificate, if etcd asks for
	// one. They are read at each connection, so that new ones need no restart.
	CertFile, KeyFile string
	// Username and Password are an etcd user's, if etcd wants to know who asks.
	Username string
	Password Secret
}

// Encrypted reports whether etcd is spoken to over TLS.
func (a Access) Encrypted() bool {
	return a.CAFile != "" || a.CertFile != "" || slices.ContainsFunc(a.Endpoints, isHTTPS)
}

func isHTTPS(endpoint string) bool { return strings.HasPrefix(endpoint, "https://") }

// Validate reports every problem at once, each naming its key. It reads the
// files.
func (a Access) Validate() error {
	var errs []error
	if len(a.Endpoints) == 0 {
		errs = append(errs, errors.New("etcd: must name at least one address"))
	}
	if a.Encrypted() && slices.ContainsFunc(a.Endpoints, func(e string) bool { return strings.HasPrefix(e, "http://") }) {
		errs = append(errs, errors.New("etcd: an address is http://, though etcd_ca, etcd_cert or another address asks for TLS"))
	}
	if (a.CertFile == "") != (a.KeyFile == "") {
		errs = append(errs, errors.New("etcd_cert, etcd_key: one can not be without the other"))
	} else if _, err := a.ownCertificate(); err != nil {
		errs = append(errs, err)
	}
	if _, err := a.authorities(); err != nil {
		errs = append(errs, err)
	}
	if (a.Username == "") != (a.Password == "") {
		errs = append(errs, errors.New("etcd_username, etcd_password: one can not be without the other"))
	}
	return errors.Join(errs...)
}

// authorities returns those that CAFile names; nil: the host's.
func (a Access) authorities() (*x509.CertPool, error) {
	if a.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(a.CAFile)
	if err != nil {
		return nil, fmt.Errorf("etcd_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("etcd_ca: %s holds no certificate in PEM", a.CAFile)
	}
	return pool, nil
}

// ownCertificate reads the process's certificate; an empty one if it has none.
func (a Access) ownCertificate() (*tls.Certificate, error) {
	if a.CertFile == "" {
		return &tls.Certificate{}, nil
	}
	cert, err := tls.LoadX509KeyPair(a.CertFile, a.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("etcd_cert, etcd_key: %w", err)
	}
	return &cert, nil
}

// tls returns nil where connections are plain.
func (a Access) tls() (*tls.Config, error) {
	if !a.Encrypted() {
		return nil, nil
	}
	pool, err := a.authorities()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    pool,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return a.ownCertificate()
		},
	}, nil
}

// Dial returns a client of that etcd. With a username it logs in at once, and so
// needs etcd to answer; otherwise it does not connect: Check does.
func (a Access) Dial() (*clientv3.Client, error) {
	encryption, err := a.tls()
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            a.Endpoints,
		TLS:                  encryption,
		Username:             a.Username,
		Password:             a.Password.Reveal(),
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    5 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		Logger:               silent,
		DialOptions:          connectOptions(),
	})
	if err != nil {
		return nil, a.explain(err)
	}
	return client, nil
}

// explain says in words why a client could not be made.
func (a Access) explain(err error) error {
	names := strings.Join(a.Endpoints, ",")
	switch {
	case a.Username == "":
		return fmt.Errorf("etcd client for %s: %w", names, err)
	case isLoginRefused(err):
		return fmt.Errorf("etcd at %s does not let user %s in: see etcd_username and etcd_password (%w)", names, a.Username, err)
	}
	return notAnswering(names, err)
}
