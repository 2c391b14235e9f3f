// Package traffic counts what the kernel forwards, by Service port and by endpoint.
//
// The kernel counts by virtual server and real server, which come and go with addresses, schedulers and rollouts. A Meter
// reads those counters when somebody asks, at most once in a while, and adds up what has come since it last read, so that a
// sum never falls while the agent runs. Nothing is read while nobody asks, and nobody who asks is waited for by the reconcile
// loop: the Meter has a socket of its own.
//
// One round of reading is a dump of all virtual servers, a list of all real servers with their connections, and a dump of the
// real servers of each virtual server that has counted something since it was last asked, so many in a round. None of
// them is a snapshot, so what is missing is unknown, not gone: serving says what is gone.
//
//	kernel ─ ipvs.StatsReader ─┐
//	                           ├─► Meter ─► Sample ─► metrics (Gatherer), top, explain, the status page
//	sync.Reconciler.Serving ───┘
package traffic
