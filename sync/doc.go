// Package sync turns Service ports into kernel state and keeps it so.
//
//	Source (API server or manifests) ─► Update ─┐
//	                                            ▼   pure                                             effects
//	node addresses ─► nodeaddr.Spec.Select ─► State ─► claims ─► allocator.Ledger ─► desired frontends
//	                                                                                     │
//	                     have ─► drain ─► ipvs.Diff ─► Plan ─────► filter.Table, ipvs.Apply
//	                      ▲                                             │ acknowledged operations only
//	                      └─────────────────────────────────────────────┘
//
// What comes in are plain values: the package knows no Kubernetes type. An Update names the Services that changed; a
// pass looks at those alone, so a change costs the same whatever else the node serves. Node addresses and the node
// itself concern every Service.
//
// Three rules hold everywhere. Memory is what the kernel acknowledged, never what was wished. Nothing is written before
// every source has been read once. Deleting needs a positive reason: what could not be computed keeps what it has.
package sync
