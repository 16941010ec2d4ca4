package broker

import (
	"cmp"
	"net/http"

	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// checkMajor refuses an image whose PostgreSQL can not read the cluster's data:
// another major version asks for a dump, or for pg_upgrade while nobody writes.
func (b *Broker) checkMajor(cluster state.Cluster, image string) error {
	major := cmp.Or(cluster.PostgresMajor, patroni.PostgresMajor)
	if major == b.cfg.PostgresMajor {
		return nil
	}
	return osb.Answer(http.StatusUnprocessableEntity, "",
		"the instance's data is of PostgreSQL %d and image %s has PostgreSQL %d: order a new instance, copy with pg_dump and psql, and bind to that",
		major, image, b.cfg.PostgresMajor)
}
