// Package controlplane pins what the lab's control plane is built from: Kubernetes and etcd, as tools of a module of
// its own, so that the product's go.mod has none of it. Package e2e/lab/cluster builds and runs them.
//
// Upstream replaces its staging modules (k8s.io/api and the like) by relative paths, which do not carry over to a module
// that depends on it. Here each of them is replaced by its release of the same date.
package controlplane
