package sealed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
)

// What a Count says of records that name no key.
const (
	// Plain: not sealed.
	Plain = "plain"
	// Unknown: sealed under a key that is not here and has no name.
	Unknown = "unknown"
)

// Count is how many records hold secrets under which key, by the key's id. A
// record with several counts under each.
type Count map[string]int

// Holding is a kind of records that hold sealed secrets, and the keys of those.
type Holding struct {
	// Name is what the records are of.
	Name    string
	Ring    *Ring
	pattern string
	// each calls look with each secret of a record, and keeps what it changes.
	each func(key string, value []byte, look func(secret) secret) ([]byte, error)
}

// secret is one that a record holds: plain, or sealed under a key, which is named
// if the record does so.
type secret struct {
	place  string
	plain  state.Secret
	sealed []byte
	by     string
}

// Clusters are the records of clusters.
func Clusters(r *Ring) Holding { return Holding{"clusters", r, state.ClusterPattern, eachOfRecord} }

// Certificates are the records of the nodes' certificates.
func Certificates(r *Ring) Holding {
	return Holding{"certificates", r, state.CertificatePattern, eachOfRecord}
}

// Authority is the record of who signs them.
func Authority(r *Ring) Holding { return Holding{"authority", r, state.SiteCAPattern, eachOfAuthority} }

// Bindings are the records of bindings.
func Bindings(r *Ring) Holding { return Holding{"bindings", r, state.BindingPattern, eachOfBinding} }

// Count counts what is there. The client must not be wrapped.
func (h Holding) Count(ctx context.Context, client *clientv3.Client) (Count, error) {
	count := Count{}
	err := h.walk(ctx, client, func(key string, value []byte, _ int64) error {
		return h.add(count, key, value)
	})
	return count, err
}

// Rotate seals every record anew under the first key, and counts what is there
// then. What is sealed under a key that is not here stays as it is. The client
// must not be wrapped.
func (h Holding) Rotate(ctx context.Context, client *clientv3.Client) (Count, error) {
	count := Count{}
	err := h.walk(ctx, client, func(key string, value []byte, revision int64) error {
		value, err := h.rewrite(ctx, client, key, value, revision)
		if err != nil || value == nil {
			return err
		}
		return h.add(count, key, value)
	})
	return count, err
}

// add counts one record.
func (h Holding) add(count Count, key string, value []byte) error {
	under := map[string]bool{}
	_, err := h.each(key, value, func(s secret) secret {
		under[h.Ring.under(s)] = true
		return s
	})
	for id := range under {
		count[id]++
	}
	return err
}

// under returns the id of the key under which a secret is sealed.
func (r *Ring) under(s secret) string {
	switch {
	case s.sealed == nil:
		return Plain
	case s.by != "":
		return s.by
	}
	for _, k := range r.Keys() {
		if _, err := k.open(s.sealed, s.place); err == nil {
			return k.id
		}
	}
	return Unknown
}

// rewrite seals one record anew, also if somebody writes it meanwhile, and
// returns what it is then; nil: it is gone.
func (h Holding) rewrite(ctx context.Context, client *clientv3.Client, key string, value []byte, revision int64) ([]byte, error) {
	for {
		fresh, err := h.each(key, value, h.Ring.renew)
		if err != nil {
			return nil, err
		}
		resp, err := client.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
			Then(clientv3.OpPut(key, string(fresh))).
			Else(clientv3.OpGet(key)).
			Commit()
		if err != nil {
			return nil, fmt.Errorf("writing %s: %w", key, err)
		}
		if resp.Succeeded {
			return fresh, nil
		}
		now := resp.Responses[0].GetResponseRange().Kvs
		if len(now) == 0 {
			return nil, nil
		}
		value, revision = now[0].Value, now[0].ModRevision
	}
}

// renew seals a secret under the first key. What can not be opened stays.
func (r *Ring) renew(s secret) secret {
	if s.sealed != nil {
		plain, err := r.Open(s.sealed, s.by, s.place)
		if err != nil {
			r.miss(s.by, err)
			return s
		}
		s.plain = plain
	}
	s.sealed, s.by = r.Seal(s.plain, s.place)
	return s
}

// walkPage is how many keys one request asks for.
const walkPage = 500

// walk shows every record, with the revision at which it was written.
func (h Holding) walk(ctx context.Context, client *clientv3.Client, show func(key string, value []byte, revision int64) error) error {
	mine := state.Matcher(h.pattern)
	prefix, _, _ := strings.Cut(h.pattern, "{")
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	for {
		resp, err := client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(walkPage))
		if err != nil {
			return fmt.Errorf("reading %s: %w", prefix, err)
		}
		for _, kv := range resp.Kvs {
			if !mine(string(kv.Key)) {
				continue
			}
			if err := show(string(kv.Key), kv.Value, kv.ModRevision); err != nil {
				return err
			}
		}
		if !resp.More {
			return nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// eachOfRecord shows the secrets of a record that a wrapped client seals. Empty ones
// are none.
func eachOfRecord(key string, value []byte, look func(secret) secret) ([]byte, error) {
	var errs []error
	out := eachSecret(key, value, func(h holder, place string) {
		s := secret{place: place, plain: state.Secret(h.text(h.secret))}
		if s.plain == "" {
			return
		}
		if IsSealed(s.plain.Reveal()) {
			var err error
			if s.sealed, err = decode(s.plain.Reveal()); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", place, err))
				return
			}
			s.by = h.text("sealed_by")
		}
		if s = look(s); s.sealed != nil {
			h.close(s.sealed, s.by)
		}
	})
	return out, errors.Join(errs...)
}

// eachOfBinding shows the one secret of a binding's record, if it has one. What
// else the record says stays, also what this program does not know.
func eachOfBinding(key string, value []byte, look func(secret) secret) ([]byte, error) {
	var record map[string]json.RawMessage
	var binding state.Binding
	if err := errors.Join(json.Unmarshal(value, &record), json.Unmarshal(value, &binding)); err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	if len(binding.Sealed) == 0 {
		return value, nil
	}
	s := look(secret{place: key, sealed: binding.Sealed, by: binding.SealedBy})
	var errSealed, errBy error
	record["sealed"], errSealed = json.Marshal(s.sealed)
	if s.by != "" {
		record["sealed_by"], errBy = json.Marshal(s.by)
	}
	out, err := json.Marshal(record)
	return out, errors.Join(errSealed, errBy, err)
}

// eachOfAuthority shows the keys of those that sign, or have signed, certificates.
func eachOfAuthority(key string, value []byte, look func(secret) secret) ([]byte, error) {
	ca, err := state.JSON[state.SiteCA](value)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	for i := range ca.Authorities {
		a := &ca.Authorities[i]
		s := look(secret{place: state.AuthorityPlace(a.ID), sealed: a.Sealed, by: a.SealedBy})
		a.Sealed, a.SealedBy = s.sealed, s.by
	}
	return json.Marshal(ca)
}
