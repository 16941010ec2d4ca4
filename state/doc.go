// Package state is what all processes of a site share: the keys in etcd and
// the records in them, the engine that keeps a picture of etcd and commits
// changes to it, and the allocation of public ports.
//
// # The engine
//
// Each process is a reactor on an engine. The engine runs this loop:
//
//	          etcd
//	      │          ▲
//	1 load, watch    │ 5 one transaction: compare what was
//	      │          │   read and what changes, then write
//	      ▼          │
//	  ┌───────┐  ┌───────┐
//	  │ feed  │  │ batch │ 4 groups that fit together
//	  └───────┘  └───────┘
//	      │          ▲
//	2 apply events   │ groups
//	      ▼          │
//	  ┌────────┐ 3 ┌─────────┐
//	  │ tables │──►│ Reactor │
//	  └────────┘   └─────────┘
//	              Tick: pure, quick
//
// 1. It loads the prefixes that the tables need at one revision and watches
// from the next. 2. Events go into typed tables, which show etcd as it was at
// exactly one revision, never going back. 3. Whenever something changed, the
// reactor's Tick looks at the tables and returns groups of changes. 4. Groups
// that fit share a transaction. 5. It is committed only if every key that a
// group read or changes is still as it was; otherwise the groups are applied
// again to the newer picture.
//
// The next Tick comes when the picture holds what was committed. A compaction
// or a watch that fell silent costs a load; an unknown outcome is settled by a
// marker in the transaction. Reasons are in docs/decisions.
//
// Slow work is not done in a Tick: it runs elsewhere, its result is kept where
// the reactor finds it, and Engine.Wake asks for a Tick.
package state
