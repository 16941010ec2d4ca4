// Package copies keeps what etcd has of an instance a second time, beside the
// data: each node's volume carries a copy, from which a site is recovered whose
// etcd has lost everything.
//
//	c, err := copies.Take(ctx, client, copies.Subject{Site: site, Instance: id, Node: node, Backend: backend})
//	…
//	b, err := c.Encode(keys) // sealed; without keys it holds no password
//	…
//	c, err = copies.Decode(b, keys)
package copies

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/sealed"
)

var (
	// ErrNoRecord says that there is nothing to copy: etcd has no cluster's record.
	ErrNoRecord = errors.New("etcd has no record of the cluster")
	// ErrSealed says that a copy can not be opened.
	ErrSealed = errors.New("sealed under a key that record_key_file does not hold")
)

// version is the layout of the copies that this program writes.
const version = 1

// takeTimeout bounds the reading of what is copied.
const takeTimeout = 10 * time.Second

// Subject is what a copy is of: an instance, as seen from one of its nodes.
type Subject struct {
	Site     string `json:"site"`
	Instance string `json:"instance"`
	Node     string `json:"node"`
	Backend  string `json:"backend"`
}

// Age is how new a copy is: the era of the site, and etcd's revision in it.
type Age struct {
	Era      int   `json:"era"`
	Revision int64 `json:"revision"`
}

// Compare is negative if a is older than b, positive if it is newer.
func (a Age) Compare(b Age) int {
	return cmp.Or(cmp.Compare(a.Era, b.Era), cmp.Compare(a.Revision, b.Revision))
}

// Header is what of a copy can be read without a key.
type Header struct {
	Version int `json:"version"`
	Subject
	Age
}

// Record is one key of etcd.
type Record struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

// Copy is what etcd had of an instance at one moment.
type Copy struct {
	Header
	// Records are the instance's, Host those of the node's backend, by key.
	Records, Host []Record
	// Bare says that passwords were left out, because there was no key to seal
	// them with.
	Bare bool
}

// Take copies what etcd has of an instance, at one revision.
func Take(ctx context.Context, client clientv3.KV, s Subject) (Copy, error) {
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	resp, err := client.Txn(ctx).Then(questions(s)...).Commit()
	if err != nil {
		return Copy{}, fmt.Errorf("copying the records of instance %s: %w", s.Instance, err)
	}
	c := Copy{Header: Header{Version: version, Subject: s, Age: Age{Revision: resp.Header.Revision}}}
	for _, r := range resp.Responses {
		for _, kv := range r.GetResponseRange().Kvs {
			if err := c.take(string(kv.Key), kv.Value); err != nil {
				return Copy{}, err
			}
		}
	}
	if _, ok := c.Value(state.ClusterKey(s.Instance)); !ok {
		return Copy{}, ErrNoRecord
	}
	return c, nil
}

// Now returns how new a copy would be that was taken now.
func Now(ctx context.Context, client clientv3.KV) (Age, error) {
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	resp, err := client.Get(ctx, state.EraKey())
	if err != nil {
		return Age{}, fmt.Errorf("reading the site's era: %w", err)
	}
	age := Age{Revision: resp.Header.Revision}
	for _, kv := range resp.Kvs {
		age.Era, err = state.Integer(kv.Value)
	}
	return age, err
}

// questions are what is read for a copy.
func questions(s Subject) []clientv3.Op {
	cordon := state.Switch{Kind: state.BackendSwitch, Name: s.Backend}
	var ops []clientv3.Op
	for _, key := range []string{
		state.EraKey(), state.ClusterKey(s.Instance), state.InitializeKey(s.Instance), state.ConfigKey(s.Instance),
		state.AllocationKey(s.Instance), state.ReadOnlyKey(s.Instance), state.ForwardKey(s.Instance), state.InstanceKey(s.Instance),
		cordon.Key(), state.SwitchedKey(cordon),
	} {
		ops = append(ops, clientv3.OpGet(key))
	}
	ops = append(ops, clientv3.OpGet(state.BindingPrefix(s.Instance), clientv3.WithPrefix()))
	for _, prefix := range []string{state.DatasourceKey(s.Instance, ""), state.SwitchedKey(state.ReplicaSwitchOf(s.Instance, ""))} {
		ops = append(ops, clientv3.OpGet(prefix, clientv3.WithPrefix()))
	}
	return ops
}

// take puts one key where it belongs.
func (c *Copy) take(key string, value []byte) error {
	cordon := state.Switch{Kind: state.BackendSwitch, Name: c.Backend}
	switch key {
	case state.EraKey():
		era, err := state.Integer(value)
		c.Era = era
		return err
	case cordon.Key(), state.SwitchedKey(cordon):
		c.Host = append(c.Host, Record{key, value})
		return nil
	}
	c.Records = append(c.Records, Record{key, value})
	return nil
}

// Value returns what a key holds in the copy.
func (c Copy) Value(key string) ([]byte, bool) {
	i := slices.IndexFunc(c.Records, func(r Record) bool { return r.Key == key })
	if i < 0 {
		return nil, false
	}
	return c.Records[i].Value, true
}

// Cluster returns the cluster's record.
func (c Copy) Cluster() (state.Cluster, error) {
	value, _ := c.Value(state.ClusterKey(c.Instance))
	cluster, err := state.JSON[state.Cluster](value)
	if err != nil {
		return cluster, fmt.Errorf("the cluster's record in the copy of node %s: %w", c.Node, err)
	}
	return cluster, nil
}

// Alike reports whether two copies hold the same of their instance.
func (c Copy) Alike(other Copy) bool { return slices.EqualFunc(c.Records, other.Records, Record.equal) }

// Same reports whether they hold the same of their backend, too.
func (c Copy) Same(other Copy) bool {
	return c.Alike(other) && slices.EqualFunc(c.Host, other.Host, Record.equal)
}

func (r Record) equal(o Record) bool { return r.Key == o.Key && string(r.Value) == string(o.Value) }

// envelope is a copy as it is written.
type envelope struct {
	Header
	// Sealed is the content, closed; Plain is the content of a bare copy.
	Sealed   []byte   `json:"sealed,omitempty"`
	SealedBy string   `json:"sealed_by,omitempty"`
	Plain    *content `json:"plain,omitempty"`
}

type content struct {
	Records []Record `json:"records"`
	Host    []Record `json:"host,omitempty"`
}

// place is where alone a sealed content opens.
func (h Header) place() string {
	return strings.Join([]string{"copy", h.Site, state.Segment(h.Instance), h.Node, h.Backend, fmt.Sprint(h.Era, h.Revision)}, " ")
}

// Encode returns the copy as it is written: sealed, or without keys bare of
// passwords.
func (c Copy) Encode(keys *sealed.Ring) ([]byte, error) {
	e := envelope{Header: c.Header}
	all := content{c.Records, c.Host}
	if keys == nil {
		all.Records = slices.Clone(all.Records)
		for i, r := range all.Records {
			all.Records[i].Value = sealed.Bare(r.Key, r.Value)
		}
		e.Plain = &all
		return json.Marshal(e)
	}
	b, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	e.Sealed, e.SealedBy = keys.Seal(state.Secret(b), c.place())
	return json.Marshal(e)
}

// Decode reads a copy. One that is not whole is an error, and so is one that can
// not be opened: ErrSealed, and then the header is all that there is.
func Decode(b []byte, keys *sealed.Ring) (Copy, error) {
	e, err := state.JSON[envelope](b)
	if err != nil {
		return Copy{}, fmt.Errorf("reading a copy: %w", err)
	}
	c := Copy{Header: e.Header, Bare: e.Plain != nil}
	switch {
	case e.Version != version:
		return c, fmt.Errorf("reading a copy: version %d, want %d", e.Version, version)
	case e.Plain != nil:
		c.Records, c.Host = e.Plain.Records, e.Plain.Host
		return c, nil
	}
	if keys == nil {
		return c, ErrSealed
	}
	plain, err := keys.Open(e.Sealed, e.SealedBy, c.place())
	if err != nil {
		return c, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	all, err := state.JSON[content]([]byte(plain.Reveal()))
	c.Records, c.Host = all.Records, all.Host
	return c, err
}
