package main

import (
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

func TestARestartSaysWhichOfItsWritesIsAQuestion(t *testing.T) {
	const question = "asks whether the scheduler exists"
	wrote := result.Usage{IPVSWrites: 1}
	for _, c := range []struct {
		name, subject string
		used          result.Usage
		want          bool
	}{
		{"kube-ipvs", result.KubeIPVS, wrote, true},
		{"kube-ipvs, of which nothing was seen", result.KubeIPVS, result.Usage{}, false},
		{"another", result.KubeProxyIPVS + "/1s", wrote, false},
	} {
		s := &session{subject: job.Subject{Name: c.subject}, plan: plan{apart: true}}
		note := s.restartNote(c.used)
		if strings.Contains(note, question) != c.want || !strings.Contains(note, "in a start of its own") {
			t.Errorf("%s: %q", c.name, note)
		}
	}
}
