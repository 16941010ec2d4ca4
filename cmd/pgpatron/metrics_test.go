package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/fixtures"
)

// fetch asks a process over plain HTTP; 0 while nobody answers.
func fetch(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// A federation process tells how it is at an address of its own, to whoever asks.
func TestFederationTellsHowItIs(t *testing.T) {
	authority := fixtures.NewAuthority(t)
	cert, key := authority.Issue(t, "dc-1")
	addrs := fixtures.FreeAddrs(t, "127.0.0.1", 2)
	out, end := begin(t, []string{
		"federation", "--etcd=" + fixtures.EtcdServer(t).Endpoints()[0], "--dc=dc-1", "--cert=" + cert, "--key=" + key, "--ca=" + authority.CA(),
		"--listen=" + addrs[0], "--metrics=" + addrs[1],
	})
	defer end()
	await(t, "healthy", out, func() bool {
		status, body := fetch(t, "http://"+addrs[1]+"/healthz")
		return status == http.StatusOK && body == "ok\n"
	})
	await(t, "metrics of the site and of the engine", out, func() bool {
		_, body := fetch(t, "http://"+addrs[1]+"/metrics")
		return strings.Contains(body, `pgpatron_federation_state{state="standalone"} 1`) && strings.Contains(body, `pgpatron_engine_held{engine="federation"} 0`)
	})
	if status, _ := fetch(t, "http://"+addrs[1]+"/v1/federation"); status != http.StatusNotFound {
		t.Errorf("what only sites may ask is answered without a certificate: %d", status)
	}
}

// A registrar over an etcd that was emptied is well, and says what is the matter.
func TestRegistrarSaysThatEtcdWasEmptied(t *testing.T) {
	link := fixtures.NewLink(t, emptyEtcd(t))
	listen := fixtures.FreeAddrs(t, "127.0.0.1", 1)[0]
	out, end := begin(t, []string{
		"registrar", "--etcd=" + link.Addr(), "--backend=127.0.0.1", "--listen=" + listen, "--docker-host=unix:///nonexistent.sock",
	})
	defer end()
	says := func(body string) func() bool {
		return func() bool {
			status, said := fetch(t, "http://"+listen+"/healthz")
			return status == http.StatusOK && strings.HasPrefix(said, body)
		}
	}
	await(t, "well", out, says("ok\n"))
	await(t, "its picture is there", out, func() bool {
		_, body := fetch(t, "http://"+listen+"/metrics")
		return strings.Contains(body, `pgpatron_engine_resyncs_total{engine="registrar",reason="start"} 1`)
	})
	link.Cut()
	link.LeadTo(emptyEtcd(t))
	link.Heal()
	await(t, "told", out, says("ok, but etcd was emptied or replaced"))
}

// emptyEtcd returns the host:port of an etcd without any data.
func emptyEtcd(t *testing.T) string {
	t.Helper()
	return strings.TrimPrefix(fixtures.EtcdServer(t).Endpoints()[0], "http://")
}
