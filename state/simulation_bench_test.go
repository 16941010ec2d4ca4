package state_test

import (
	"fmt"
	"testing"

	"github.com/pgpatron/pgpatron/state"
)

// BenchmarkTick has a router's reactor look at simulated sites, up to one of
// 100 000 clusters: what a Tick costs, the taking in of its changes included,
// goes by how much changed, not by how much there is.
func BenchmarkTick(b *testing.B) {
	for _, clusters := range []int{1000, 10000, 100000} {
		schema := state.NewSchema()
		steer := steering(schema, func(string) {})
		site := state.NewSimulation(schema)
		for i := range clusters {
			site.Put(state.LeaderKey(siteID(i)), siteMember(i, 0))
			site.Put(state.AllocationKey(siteID(i)), fmt.Sprint(10000+i))
			for m := range siteMembers {
				site.Put(state.MemberKey(siteID(i), siteMember(i, m)), memberValue(i, m))
			}
		}
		site.Settle()
		for _, changes := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("clusters=%d/changes=%d", clusters, changes), func(b *testing.B) {
				benchmarkTick(b, site, steer, clusters, changes)
			})
		}
	}
}

// benchmarkTick moves the leadership of as many clusters for each Tick.
func benchmarkTick(b *testing.B, site *state.Simulation, steer reactor, clusters, changes int) {
	b.ReportAllocs()
	const stride = 7919 // a prime: the clusters of one Tick lie far apart
	i, ticks := 0, 0
	for b.Loop() {
		for range changes {
			i = (i + stride) % clusters
			site.Put(state.LeaderKey(siteID(i)), siteMember(i, ticks%siteMembers))
		}
		if _, err := steer(b.Context(), state.Tick{Revision: site.Revision()}); err != nil {
			b.Fatal(err)
		}
		site.Settle()
		ticks++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(ticks*changes), "ns/change")
}
