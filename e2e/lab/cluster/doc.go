// Package cluster builds and runs a real Kubernetes control plane on the host's loopback, without a container engine:
// etcd, kube-apiserver and those controllers of kube-controller-manager that a test wants.
//
//	e2e/controlplane/go.mod ─► go build ─► etcd, kube-apiserver, kube-controller-manager, in the user's cache directory
//	                                         │
//	Start ─► state directory: keys, kubeconfigs, logs, etcd's data ── goes with Close
//	         etcd ◄── kube-apiserver ◄── kube-controller-manager
//	                  127.0.0.1:PORT
//	                     ├── the test, as administrator or as a ServiceAccount
//	                     └── 10.0.2.2:PORT: agents in a guest with a lab.Network
//
// There is no scheduler and no kubelet. A pod whose nodeName is set and whose status is patched by the test has a
// place in EndpointSlices, which the real controller makes; one that is deleted stays, terminating, until the test
// deletes it with a grace period of zero.
//
// The processes die with the one that started them, whatever ends it. The end of the context given to [Start] closes
// the control plane, which is how a signal should be handled: see [os/signal.NotifyContext].
package cluster
