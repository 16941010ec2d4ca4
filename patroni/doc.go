// Package patroni holds all that is known of Patroni: its keys in etcd, its
// REST API, its configuration, and the node that runs it in a container.
//
// A process that watches a cluster adds Patroni's tables to its engine's
// schema, and talks to a member through a Client:
//
//	leaders, members := patroni.Leaders(schema), patroni.Members(schema)
//	…
//	leader, _ := leaders.Get(instance)
//	member, _ := members.Get(instance, leader.Value)
//	client, err := patroni.NewClient(member.Value.APIURL, cluster.RESTCredentials, nil)
//
// A process that creates a container puts a NodeConfig into its volume, as
// NodeFile; cmd/patroni-node does the rest.
package patroni
