package federation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// clientTimeout is how long an operator's request may take: two leases and more.
const clientTimeout = 2 * time.Minute

// Client is an operator's way to the federation process of a site.
type Client struct {
	site  Peer
	peers *peers
}

// NewClient returns a client of the site of that name at an address. The
// certificate is the site's own.
func NewClient(dc, address string, files Files) (*Client, error) {
	if _, err := ParseName(dc); err != nil {
		return nil, fmt.Errorf("dc: %w", err)
	}
	if err := errors.Join(files.validate()...); err != nil {
		return nil, err
	}
	keys, err := newPKI(files)
	if err != nil {
		return nil, err
	}
	return &Client{site: Peer{DC: dc, Address: address}, peers: newPeers(keys, clientTimeout)}, nil
}

// Close ends the client's connections.
func (c *Client) Close() { c.peers.close() }

// Status tells where the site stands.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, http.MethodGet, "/v1/federation", nil)
}

// Add has the site add another to its federation.
func (c *Client) Add(ctx context.Context, site Peer, token state.Secret) (Status, error) {
	return ask[Status](ctx, c, http.MethodPost, "/v1/federation/dcs", Addition{DC: site.DC, Address: site.Address, Token: token})
}

// Evict has the site take dead ones out of its federation.
func (c *Client) Evict(ctx context.Context, dcs []string, force, release bool) (Status, error) {
	query := url.Values{}
	for name, on := range map[string]bool{"force": force, "release": release} {
		if on {
			query.Set(name, "true")
		}
	}
	return ask[Status](ctx, c, http.MethodDelete, "/v1/federation/dcs/"+url.PathEscape(strings.Join(dcs, ","))+"?"+query.Encode(), nil)
}

// Leave has the site leave its federation.
func (c *Client) Leave(ctx context.Context, release bool) (Status, error) {
	return ask[Status](ctx, c, http.MethodPost, "/v1/federation/leave", Departure{Release: release})
}

// Reset makes a site standalone that was evicted.
func (c *Client) Reset(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, http.MethodPost, "/v1/federation/reset", nil)
}

// GIPs lists the federation's global ports.
func (c *Client) GIPs(ctx context.Context) ([]Reservation, error) {
	return ask[[]Reservation](ctx, c, http.MethodGet, "/v1/gips", nil)
}

// Reserve gives an instance of the site a global port.
func (c *Client) Reserve(ctx context.Context, instance string) (Reservation, error) {
	return ask[Reservation](ctx, c, http.MethodPost, "/v1/gips", Reservation{Instance: instance})
}

func ask[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var out T
	err := c.peers.call(ctx, c.site, method, path, "", body, &out)
	return out, err
}
