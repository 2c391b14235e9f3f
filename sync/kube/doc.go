// Package kube reads Services, EndpointSlices and the Node and says what they mean in the values of package sync.
//
//	API server ─► Informers ─┐
//	                         ├─► State ─► Translate, dirty Services only ─► sync.Update
//	YAML files ─► Manifests ─┘
//
// Both sources feed one State, so the same objects give the same result wherever they come from. Translate is pure and
// answers for one Service at a time; what it cannot use it reports as a sync.Problem and leaves the rest alone.
//
// Beside the commands it is the only package that imports Kubernetes.
package kube
