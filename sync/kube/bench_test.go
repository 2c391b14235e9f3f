package kube

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func BenchmarkTranslate10kEndpoints(b *testing.B) {
	svc, slices := largeService(10_000)
	o := testOptions()
	b.ReportAllocs()
	for b.Loop() {
		Translate(svc, slices, o)
	}
}

// BenchmarkOneSliceOf3000Services is the cost of one EndpointSlice event, which must not depend on the other Services.
func BenchmarkOneSliceOf3000Services(b *testing.B) {
	s := newState(testOptions(), "")
	slice := func(service, version int) *discoveryv1.EndpointSlice {
		name := fmt.Sprintf("svc-%d", service)
		es := ipv4Slice(name, name+"-1", 8080)
		for i := range 10 {
			es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.1.%d.%d", version%2, i)}})
		}
		return es
	}
	for i := range 3000 {
		s.setService(nodePortService(fmt.Sprintf("svc-%d", i), corev1.ServicePort{Port: 80, NodePort: int32(30000 + i)}))
		s.setSlice(slice(i, 0))
	}
	s.setSynced()
	s.Next()
	b.ReportAllocs()
	for i := 1; b.Loop(); i++ {
		s.setSlice(slice(1234, i))
		if u, _ := s.Next(); len(u.Services) != 1 {
			b.Fatalf("%d Services in the update", len(u.Services))
		}
	}
}

func BenchmarkState10kEndpointsUnchanged(b *testing.B) {
	svc, slices := largeService(10_000)
	s := newState(testOptions(), "")
	s.setService(svc)
	for _, slice := range slices {
		s.setSlice(slice)
	}
	s.setSynced()
	s.Next()
	b.ReportAllocs()
	for b.Loop() {
		s.setSlice(slices[0])
		if u, _ := s.Next(); len(u.Services) != 0 {
			b.Fatal("an equal Service is delivered again")
		}
	}
}

func BenchmarkDecode3000Services(b *testing.B) {
	var file strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&file, "apiVersion: v1\nkind: Service\nmetadata: {name: svc-%d}\n"+
			"spec: {type: NodePort, ports: [{port: 80, nodePort: %d}]}\n---\n"+
			"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"+
			"metadata: {name: svc-%d-x, labels: {kubernetes.io/service-name: svc-%d}}\n"+
			"addressType: IPv4\nports: [{port: 8080}]\nendpoints:\n", i, 30000+i%2768, i, i)
		for j := range 10 {
			fmt.Fprintf(&file, "- {addresses: [10.%d.%d.%d], nodeName: node-%d}\n", i/250, i%250, j, j)
		}
		file.WriteString("---\n")
	}
	content := []byte(file.String())
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if d := decode("f", content); len(d.objects) != 6000 || len(d.faults) != 0 {
			b.Fatalf("%d objects, %v", len(d.objects), d.faults)
		}
	}
}
