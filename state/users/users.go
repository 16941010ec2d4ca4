// Package users gives each process of a site an etcd user of its own, that may
// do what the process has to do and nothing else.
//
//	for _, u := range users.All("postgresql-brokerpatroni") { … }
//	err := users.Install(ctx, client, all, passwords)
//
// Rights in etcd are ranges of keys. Two things follow. An engine watches one
// range that spans all its keys, and etcd wants the right to read all of that:
// reads are wide, writes narrow. And what lies under an instance's id can not be
// told apart from the keys beside it.
package users

import "github.com/pgpatron/pgpatron/state"

// User is an etcd user, and the role of the same name that it has.
type User struct {
	Name string
	// Reads and Writes are what it may do. What may be written may be read, too.
	Reads, Writes []Range
}

// Range is the keys from Key to before End; End "": Key alone.
type Range struct{ Key, End string }

// Root is the name of the user that may do everything. etcd knows it by that.
const Root = "root"

// All returns the users of a site, whose nodes are announced under image.
func All(image string) []User {
	announcements := prefix(state.AnnouncementPattern(image))
	engines := prefix(state.MarkerPattern)
	site := span(prefix(state.ElectionPattern), prefix(state.CertificatePattern))
	return []User{
		{
			Name:  "broker",
			Reads: []Range{span(site, prefix(state.TLSPrefix))},
			Writes: []Range{
				engines, office("broker"), prefix(state.PlanCountPattern), prefix(state.DrainPattern), prefix("/routing/"),
				prefix(state.ServicePrefix), prefix(state.InstancePattern), prefix("/state/"), prefix(state.FederationPrefix),
				prefix(state.EventsPrefix), prefix(state.TLSPrefix),
			},
		},
		{
			Name:  "registrar",
			Reads: []Range{site},
			// Containers are announced under any name that is not reserved.
			Writes: append(unreserved(), engines, office("registry"), prefix("/registry/"), prefix(state.ServicePrefix)),
		},
		{
			Name:   "router",
			Reads:  []Range{span(engines, prefix("/state/"))},
			Writes: []Range{engines, prefix(state.UnboundPattern), prefix(state.RouterPattern), prefix(state.RouterRecordPattern)},
		},
		{
			// What Patroni and patroni-node log in as, in every container.
			Name:   "node",
			Reads:  []Range{announcements},
			Writes: []Range{prefix(state.ServicePrefix)},
		},
		{
			Name:   "federation",
			Reads:  []Range{span(prefix(state.ElectionPattern), prefix(state.SitePattern))},
			Writes: []Range{engines, office("federation"), prefix(state.FederationPrefix), prefix("/routing/")},
		},
	}
}

func office(name string) Range { return Range{Key: state.ElectionKey(name)} }
