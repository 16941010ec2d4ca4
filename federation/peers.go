package federation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// maxBody is how much one site reads of another's message: all global ports and
// more.
const maxBody = 16 << 20

// peers speaks with other sites. A site is known by the name in its
// certificate, wherever its address leads.
type peers struct {
	keys    *pki
	timeout time.Duration
	silence silence

	// mu guards clients.
	mu      sync.Mutex
	clients map[Peer]client
}

// client speaks with one site, over connections of one edition of certificates.
type client struct {
	http    *http.Client
	edition int
}

func newPeers(keys *pki, timeout time.Duration) *peers {
	return &peers{keys: keys, timeout: timeout, clients: map[Peer]client{}}
}

// send takes a request to its site and returns the answer. A refusal is a
// *Refusal; any other error says that nothing is known.
func (p *peers) send(ctx context.Context, req Request, token state.Secret) (Reply, error) {
	var reply Reply
	method, path := http.MethodPost, "/v1/federation/tx/"+url.PathEscape(req.Tx)+"/"+string(req.Verb)
	var body any = req
	switch req.Verb {
	case Hello:
		path = "/v1/federation/hello"
	case Ask:
		query := url.Values{
			"federation": {req.Federation}, "base_epoch": {strconv.Itoa(req.Base)}, "coordinator": {req.Coordinator}, "from": {req.From.DC},
		}
		method, body, path = http.MethodGet, nil, "/v1/federation/tx/"+url.PathEscape(req.Tx)+"?"+query.Encode()
	}
	err := p.call(ctx, req.To, method, path, token, body, &reply)
	return reply, err
}

// call asks a site for something and decodes its answer.
func (p *peers) call(ctx context.Context, to Peer, method, path string, token state.Secret, body, into any) error {
	c, err := p.client(Peer{DC: to.DC, Address: to.Address})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var payload []byte
	if body != nil {
		payload = encode(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+to.Address+path, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	resp, err := c.Do(req)
	if !errors.Is(ctx.Err(), context.Canceled) {
		p.silence.note(to.DC, err == nil)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return err
	}
	return decode(resp.StatusCode, answer, into)
}

// decode tells a refusal from an answer.
func decode(status int, answer []byte, into any) error {
	var refusal Refusal
	switch {
	case status == http.StatusOK:
		return json.Unmarshal(answer, into)
	case json.Unmarshal(answer, &refusal) == nil && refusal.Text != "":
		return &refusal
	}
	return fmt.Errorf("answer %d: %s", status, bytes.TrimSpace(answer[:min(len(answer), 200)]))
}

// client returns the client for a site, a new one if the certificates changed.
func (p *peers) client(to Peer) (*http.Client, error) {
	config, edition, err := p.keys.client(to.DC)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.clients[to]
	if ok && c.edition == edition {
		return c.http, nil
	}
	if ok {
		c.http.CloseIdleConnections()
	}
	dialer := net.Dialer{Timeout: p.timeout}
	c = client{edition: edition, http: &http.Client{Transport: &http.Transport{
		TLSClientConfig: config, DialContext: dialer.DialContext, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute,
	}}}
	p.clients[to] = c
	return c.http, nil
}

func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		c.http.CloseIdleConnections()
	}
}
