package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
)

// servingHTTPS runs a broker over HTTPS until the test ends, and returns its address.
func servingHTTPS(t *testing.T, cert, key string) string {
	t.Helper()
	address := fixtures.FreeAddrs(t, "127.0.0.1", 1)[0]
	out, _ := begin(t, []string{
		"broker", "--password=x", "--listen=" + address, "--etcd=" + fixtures.EtcdServer(t).Endpoints()[0],
		"--seal-key-file=" + filepath.Join(t.TempDir(), "seal.key"), "--tls-cert=" + cert, "--tls-key=" + key,
	})
	await(t, "listening", out, func() bool { return speaksTLS(t, address) })
	return address
}

// speaksTLS tells whether a server shows a certificate, whichever.
func speaksTLS(t *testing.T, address string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// shown returns the serial number of the certificate that a new client is shown,
// which must be good for the name.
func shown(t *testing.T, address, name, ca string) string {
	t.Helper()
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: name}, DisableKeepAlives: true}}
	resp, err := client.Get("https://" + address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.TLS.PeerCertificates[0].SerialNumber.String()
}

func TestBrokerOverHTTPSTakesNewCertificatesWithoutARestart(t *testing.T) {
	t.Parallel()
	authority := fixtures.NewAuthority(t)
	cert, key := authority.Issue(t, "broker.test")
	address := servingHTTPS(t, cert, key)
	before := shown(t, address, "broker.test", authority.CA())
	authority.Issue(t, "broker.test")
	if after := shown(t, address, "broker.test", authority.CA()); after == before {
		t.Error("the old certificate is still shown")
	}
}

// The smoke test says what a broker says that has not what is asked for.
func TestSmokeTestOverHTTPS(t *testing.T) {
	t.Parallel()
	authority := fixtures.NewAuthority(t)
	cert, key := authority.Issue(t, "localhost")
	address := "localhost" + servingHTTPS(t, cert, key)[len("127.0.0.1"):]
	login := []string{"smoke-test", "--broker=https://" + address, "--password=x"}
	wantSays(t, fail(t, append(login, "--broker-ca="+authority.CA(), "--plan=huge")...), "catalog: no plan huge")
	wantSays(t, fail(t, append(login, "--broker-ca="+authority.CA(), "--password=y")...), "the broker answers 401")
	wantSays(t, fail(t, login...), "certificate")
	wantSays(t, fail(t, append(login, "--broker-ca="+key)...), "holds no certificate")
}

func TestCertificateWithoutItsKey(t *testing.T) {
	cert, _ := fixtures.NewAuthority(t).Issue(t, "broker.test")
	wantSays(t, fail(t, "broker", "--check-config", "--password=x", "--tls-cert="+cert), "tls_cert, tls_key: one can not be without the other")
	var out bytes.Buffer
	if err := run(t.Context(), []string{"broker", "--check-config", "--password=x", "--tls-cert=" + cert, "--tls-key=" + cert}, &out, &out); err == nil {
		t.Error("a certificate was taken for a key")
	}
}
