// Package federation lets sites agree on global ports: public ports that belong
// to one instance at every site, so that it can move there with its address.
//
// # The protocol
//
// Site holds the records of one site as a step finds and leaves them; the
// functions of the protocol are steps, and do nothing else. A transaction goes
//
//	Begin ──► Requests ──► Handle at every other site ──► Answer
//	                                                        │
//	                              Decide ◄── Ready ◄────────┤
//	                                │                       │
//	   Mail ──► Handle ──► Delivered ◄                Err ──► Abandon, Aborts
//
// A Round is what a coordinator has under way; all else is in the site's etcd.
// Sites that missed something ask each other (Greeting, Greeted), and ask what
// became of what they agreed to (Doubts, Resolved). docs/federation.md tells
// the protocol with pictures, and what it promises.
//
// # The process
//
// Federation is the process around it: it makes each step a transaction,
// carries requests over HTTPS with certificates on both sides, and, where it is
// the elected one, looks after what is under way. Client is an operator's way to
// it, and GlobalPorts a broker's, which goes through etcd alone.
//
//	f, err := federation.New(cfg, client)
//	…
//	err = f.Run(ctx) // serves until ctx ends
package federation
