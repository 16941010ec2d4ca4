package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pgpatron/pgpatron/fixtures"
)

// servingRegistry serves a registry at an address until the test ends.
func servingRegistry(t *testing.T, address string, files certificateFiles) {
	t.Helper()
	f := front{listen: address, tls: files.config(), metrics: prometheus.NewRegistry(), others: newTestRegistry(t)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestRegistryOverHTTPSTakesNewCertificatesWithoutARestart(t *testing.T) {
	authority := fixtures.NewAuthority(t)
	cert, key := authority.Issue(t, "localhost")
	address := fixtures.FreeAddrs(t, "127.0.0.1", 1)[0]
	servingRegistry(t, address, certificateFiles{cert, key})
	await(t, "listening", &bytes.Buffer{}, func() bool { return speaksTLS(t, address) })

	t.Setenv("PGPATRON_REGISTRY_TOKEN", askToken)
	ask := []string{"registry", "list", "nodes", "--url=https://localhost" + strings.TrimPrefix(address, "127.0.0.1")}
	if err := run(t.Context(), append(ask, "--ca="+authority.CA()), io.Discard, io.Discard); err != nil {
		t.Error(err)
	}
	wantSays(t, fail(t, ask...), "certificate")
	wantSays(t, fail(t, append(ask, "--ca="+key)...), "ca: "+key+" holds no certificate")

	before := shown(t, address, "localhost", authority.CA())
	authority.Issue(t, "localhost")
	if after := shown(t, address, "localhost", authority.CA()); after == before {
		t.Error("the old certificate is still shown")
	}
}

func TestRegistrarChecksItsCertificate(t *testing.T) {
	cert, _ := fixtures.NewAuthority(t).Issue(t, "registrar.test")
	wantSays(t, fail(t, "registrar", "--check-config", "--backend=10.0.0.7", "--tls-cert="+cert), "tls_cert, tls_key: one can not be without the other")
}
