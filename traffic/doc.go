// Package traffic counts what the kernel forwards, by Service port and by endpoint.
//
// The kernel counts by virtual server and real server, which come and go with addresses, schedulers and rollouts. A Meter
// reads those counters when somebody asks, at most once in a while, and adds up what has come since it last read, so that a
// sum never falls while the agent runs. Nothing is read while nobody asks, and nobody who asks is waited for by the reconcile
// loop: the Meter has a socket of its own.
//
//	kernel ─ ipvs.StatsReader ─┐
//	                           ├─► Meter ─► Sample ─► metrics (Gatherer), top, explain, the status page
//	sync.Reconciler.Serving ───┘
package traffic
