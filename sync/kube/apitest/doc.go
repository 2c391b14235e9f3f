// Package apitest is an API server for tests of those who list and watch. It speaks HTTP over pipes within the process, so that
// all of it can live in a bubble of synctest, and does what a real one does when it is slow, ill, or older than it was.
//
// It has Services, EndpointSlices and Nodes, as protobuf or JSON as the client asks, with label selectors, streaming lists,
// bookmarks and resource versions. A watch that is to go on from a version that does not exist yet is silent, as
// kube-apiserver's is.
package apitest
