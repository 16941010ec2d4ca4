package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// SiteCA is the authority of the site's PostgreSQL servers. No key is in it.
type SiteCA struct {
	// Phase is "settled", or how far a replacement is: "announced", "switched".
	// "absent": no broker has made one yet.
	Phase string `json:"phase"`
	// Authorities are those that clients are to trust, the oldest first.
	Authorities []Authority `json:"authorities"`
	// Bundle is their certificates, as PEM text: what bindings carry.
	Bundle string `json:"bundle"`
	// Certificates counts those of nodes, FirstExpires is when the first of them
	// ends. They are renewed long before.
	Certificates int       `json:"certificates"`
	FirstExpires time.Time `json:"first_expires,omitzero"`
	// Waiting names the nodes, INSTANCE.NODE, whose server does not show yet what
	// was signed for it last.
	Waiting []string `json:"waiting"`
}

// Authority is one that servers' certificates are, or were, signed with.
type Authority struct {
	ID      string    `json:"id"`
	Signs   bool      `json:"signs"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// SiteCA tells of the site's authority.
func (c *Client) SiteCA(ctx context.Context) (SiteCA, error) {
	return ask[SiteCA](ctx, c, http.MethodGet, "/ca", nil)
}

// ReplaceSiteCA takes the replacement of the authority a step further.
func (c *Client) ReplaceSiteCA(ctx context.Context, step string) (SiteCA, error) {
	return ask[SiteCA](ctx, c, http.MethodPost, "/ca/"+url.PathEscape(step), nil)
}

func (h handler) siteCA(ctx context.Context, _ *http.Request) (any, error) {
	return h.site.SiteCA(ctx)
}

func (h handler) replaceSiteCA(ctx context.Context, r *http.Request) (any, error) {
	return h.site.ReplaceSiteCA(ctx, id(r))
}
