package main

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// certificateFiles are PEM files with what a server shows; none: it speaks plain.
type certificateFiles struct{ cert, key string }

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
