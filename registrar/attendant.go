package registrar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/docker/docker/api/types/filters"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/registrar/internal/staff"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/copies"
)

// ErrOtherSite says that etcd has come to serve another site than the registrar was
// made for: one that was recovered. Make another registrar for it.
var ErrOtherSite = errors.New("etcd serves another site now")

const (
	// attendInterval is how often it is looked whether somebody asks.
	attendInterval = 2 * time.Second
	// answerTTL is how long answers stay, in seconds.
	answerTTL = 900
	// answerTimeout bounds one question to etcd, and one answer.
	answerTimeout = 5 * time.Second
)

// attendant tells whoever recovers the site what copies the volumes here carry, and
// its witness that there is something to recover. It looks at etcd by itself: the
// engine's picture is of the etcd that is gone.
type attendant struct {
	etcd *clientv3.Client
	cfg  Config
	log  *slog.Logger
	// docker is without an owner: volumes of any site are told.
	docker *docker
	// engine knows etcd from another.
	engine  *state.Engine
	witness witness
	// answered is the request that was answered last.
	answered string
}

// Run answers until ctx ends, or etcd serves another site.
func (a *attendant) Run(ctx context.Context) error {
	for staff.Rest(ctx, attendInterval, nil, nil) {
		err := a.look(ctx)
		if errors.Is(err, ErrOtherSite) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			a.log.WarnContext(ctx, "telling what copies of records there are, will retry", "err", err)
		}
	}
	return nil
}

// look tells what has been lost, and answers if somebody asks.
func (a *attendant) look(ctx context.Context) error {
	site, asked, replaced, err := a.ask(ctx)
	if err != nil {
		return nil // the engine tells that etcd is away
	}
	if site != "" && site != a.cfg.Site && !replaced {
		return fmt.Errorf("%w: %s in the place of %s", ErrOtherSite, site, a.cfg.Site)
	}
	err = a.witness.look(ctx, replaced)
	if asked != "" {
		err = errors.Join(err, a.respond(ctx, asked))
	}
	return err
}

// respond answers a request, once.
func (a *attendant) respond(ctx context.Context, asked string) error {
	request, err := state.JSON[copies.Request]([]byte(asked))
	if err != nil || request.ID == a.answered {
		return err
	}
	if err := a.answer(ctx, request.ID); err != nil {
		return err
	}
	a.answered = request.ID
	return nil
}

// ask returns the site that etcd serves, the request there is, if any, and whether
// that is another etcd than the engine's.
func (a *attendant) ask(ctx context.Context) (site, request string, replaced bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	recognise := a.engine.Recognise()
	resp, err := a.etcd.Txn(ctx).Then(clientv3.OpGet(state.SiteKey()), clientv3.OpGet(state.RecoveryKey())).Commit()
	if err != nil {
		return "", "", false, err
	}
	value := func(i int) string {
		for _, kv := range resp.Responses[i].GetResponseRange().Kvs {
			return string(kv.Value)
		}
		return ""
	}
	return value(0), value(1), recognise(resp.Header) != nil, nil
}

// answer tells of every volume of this backend.
func (a *attendant) answer(ctx context.Context, request string) error {
	volumes, err := a.docker.volumes(ctx, filters.NewArgs(filters.Arg("label", labelBackend+"="+a.cfg.ID), filters.Arg("label", labelNode)))
	if err != nil {
		return err
	}
	lease, err := a.etcd.Grant(ctx, answerTTL)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		found := a.find(ctx, v)
		found.Request, found.Hostname = request, a.cfg.Hostname
		if err := a.put(ctx, state.CopyKey(a.cfg.ID, v.node), found, lease.ID); err != nil {
			return err
		}
	}
	a.log.InfoContext(ctx, "told what copies of records there are", "volumes", len(volumes))
	done := copies.Answer{Request: request, Backend: a.cfg.ID, Hostname: a.cfg.Hostname, Volumes: len(volumes)}
	return a.put(ctx, state.AnswerKey(a.cfg.ID), done, lease.ID)
}

func (a *attendant) put(ctx context.Context, key string, v any, lease clientv3.LeaseID) error {
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, err = a.etcd.Put(ctx, key, string(value), clientv3.WithLease(lease))
	return err
}

// find looks at one volume.
func (a *attendant) find(ctx context.Context, v volume) copies.Found {
	found := copies.Found{Subject: copies.Subject{Site: v.site, Instance: v.instance, Node: v.node, Backend: a.cfg.ID}}
	d := &docker{client: a.docker.client, owner: owner{site: v.site, backend: a.cfg.ID}}
	c, here, err := d.inspect(ctx, containerName(v.node))
	if err != nil || !here {
		found.Problem = "its container is gone, through which the volume is read"
		if err != nil {
			found.Problem = err.Error()
		}
		return found
	}
	found.Container, found.Running = true, c.running
	s, err := readShelf(ctx, d, c.id, a.cfg.RecordKeys)
	switch {
	case err != nil:
		found.Problem = err.Error()
	case len(s.raw) == 0:
		found.Problem = "there is no copy on the volume"
	}
	found.Copy = s.raw
	if s.copy.Bare {
		found.Logins = logins(ctx, d, c.id)
	}
	return found
}

// logins returns the passwords that a node was given, if that can be read: the last
// ones, where they were replaced while it ran. Names are those of the cluster's
// record.
func logins(ctx context.Context, d *docker, container string) map[string]state.Credentials {
	raw, ok, err := d.readFile(ctx, container, patroni.NodeFile)
	if err != nil || !ok {
		return nil
	}
	n, err := state.JSON[patroni.NodeConfig](raw)
	if err != nil {
		return nil
	}
	p := patroni.Passwords{Logins: state.Logins{Superuser: n.Superuser, Replication: n.Replication, Admin: n.Admin, REST: n.REST}}
	if raw, ok, err := d.readFile(ctx, container, patroni.PasswordsFile); err == nil && ok {
		if last, err := patroni.DecodePasswords(raw); err == nil {
			p = last
		}
	}
	var c state.Cluster
	c.SetLogins(p.Logins, p.Spare)
	known := map[string]state.Credentials{}
	for _, login := range c.NamedLogins() {
		known[login.Name] = *login.Login
	}
	return known
}
