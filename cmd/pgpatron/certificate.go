package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
)

// certificateFiles are PEM files with what a server shows; none: it speaks plain.
type certificateFiles struct{ cert, key string }

// add makes the settings that name them.
func (f *certificateFiles) add(s *settings) {
	add(s, "tls-cert", &f.cert, "", "PEM file with the API's certificate; with it the API is served over HTTPS", text)
	add(s, "tls-key", &f.key, "", "PEM file with the certificate's key", text)
}

// scheme is what URLs of the server begin with.
func (f certificateFiles) scheme() string {
	if f.cert == "" {
		return "http"
	}
	return "https"
}

// validate tells what is wrong with the files.
func (f certificateFiles) validate() error {
	if (f.cert == "") != (f.key == "") {
		return errors.New("tls_cert, tls_key: one can not be without the other")
	}
	if f.cert == "" {
		return nil
	}
	_, err := f.read()
	return err
}

func (f certificateFiles) read() (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("tls_cert, tls_key: %w", err)
	}
	return &cert, nil
}

// config returns what a server shows the files with. They are read for each
// client, so that new ones need no restart.
func (f certificateFiles) config() *tls.Config {
	if f.cert == "" {
		return nil
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.read() },
	}
}

// trusting returns a transport that trusts the authorities in the PEM file that
// the setting key names; "": those of the host.
func trusting(key, ca string) (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if ca == "" {
		return transport, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %s holds no certificate in PEM", key, ca)
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return transport, nil
}
