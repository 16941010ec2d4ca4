package federation

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Files are PEM files: a site's certificate with its key, and the authority
// that signs every site's. They are read again when they change.
type Files struct {
	Cert, Key, CA string
}

func (f Files) validate() []error {
	var errs []error
	for _, file := range []struct{ key, path string }{
		{"federation.cert", f.Cert}, {"federation.key", f.Key}, {"federation.ca", f.CA},
	} {
		if file.path == "" {
			errs = append(errs, fmt.Errorf("%s: must name a PEM file", file.key))
		}
	}
	return errs
}

// Check reads the files, and tells what of them does not do for a site that is
// called dc. Files that are not named are not its matter.
func (f Files) Check(dc string) error {
	if f.Cert == "" || f.Key == "" || f.CA == "" {
		return nil
	}
	cert, pool, err := f.read()
	if err != nil {
		return fmt.Errorf("federation.cert, key, ca: %w", err)
	}
	between := x509.NewCertPool()
	for _, der := range cert.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	_, errChain := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err := errors.Join(errChain, cert.Leaf.VerifyHostname(dc)); err != nil {
		return fmt.Errorf("federation.cert, ca: %w", err)
	}
	return nil
}

// pki holds what the files said last.
type pki struct {
	files Files

	// mu guards the rest.
	mu     sync.Mutex
	stamps [3]time.Time
	cert   tls.Certificate
	pool   *x509.CertPool
	// edition counts what was read.
	edition int
}

func newPKI(files Files) (*pki, error) {
	k := &pki{files: files}
	_, _, _, err := k.current()
	return k, err
}

// current returns the certificate, the authority and how often they have been
// read. Files that can not be read leave what was read before.
func (k *pki) current() (tls.Certificate, *x509.CertPool, int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var stamps [3]time.Time
	for i, path := range []string{k.files.Cert, k.files.Key, k.files.CA} {
		info, err := os.Stat(path)
		if err != nil {
			return k.cert, k.pool, k.edition, k.unless(fmt.Errorf("certificates: %w", err))
		}
		stamps[i] = info.ModTime()
	}
	if stamps == k.stamps {
		return k.cert, k.pool, k.edition, nil
	}
	cert, pool, err := k.files.read()
	if err != nil {
		return k.cert, k.pool, k.edition, k.unless(err)
	}
	k.cert, k.pool, k.stamps = cert, pool, stamps
	k.edition++
	return k.cert, k.pool, k.edition, nil
}

// unless returns err if nothing has been read yet.
func (k *pki) unless(err error) error {
	if k.edition > 0 {
		return nil
	}
	return err
}

func (f Files) read() (tls.Certificate, *x509.CertPool, error) {
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return cert, nil, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	authority, err := os.ReadFile(f.CA)
	if err != nil {
		return cert, nil, fmt.Errorf("authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		return cert, nil, fmt.Errorf("authority %s: holds no PEM certificate", f.CA)
	}
	return cert, pool, nil
}

// server returns the configuration of a listener: it takes only clients with a
// certificate of the authority.
func (k *pki) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			cert, pool, _, err := k.current()
			if err != nil {
				return nil, err
			}
			return &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert},
				ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, NextProtos: []string{"h2", "http/1.1"},
			}, nil
		},
		// net/http wants one; GetConfigForClient is asked first.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return nil, errors.New("no certificate without a client's hello")
		},
	}
}

// client returns the configuration of a connection to the site of that name,
// and the edition that it is of.
func (k *pki) client(dc string) (*tls.Config, int, error) {
	cert, pool, edition, err := k.current()
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, RootCAs: pool, ServerName: dc,
	}, edition, err
}
