package main

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/ledger"
	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/trend"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/experiment"
)

func TestAWrongCommandLineIsRefused(t *testing.T) {
	for _, args := range [][]string{
		{"-duration", "1s"},
		{"-fault", "none"},
		{"-fault", "reset", "-write-docs"},
		{"-fault", "reset", "-soak"},
		{"-soak", "-rate", "0"},
		{"-deployments", "0"},
		{"more"},
	} {
		if _, err := parse(io.Discard, args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
	o, err := parse(io.Discard, []string{"-soak", "-duration", "2m", "-seed", "7"})
	if err != nil || o.job.Rate != 1000 || o.job.Duration != 2*time.Minute || o.job.Seed != 7 || o.out != "out/soak" {
		t.Errorf("%+v %v", o, err)
	}
}

func TestARunFillsItsPartOfThePageAndNoOther(t *testing.T) {
	page, err := os.ReadFile("../../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	filled, err := fill(string(page), "chaos", "FIRST")
	if err != nil {
		t.Fatal(err)
	}
	again, err := fill(filled, "chaos", "SECOND")
	if err != nil || strings.Contains(again, "FIRST") || !strings.Contains(again, "SECOND") {
		t.Errorf("%v:\n%s", err, again)
	}
	if len(again) != len(filled)+len("SECOND")-len("FIRST") {
		t.Error("more than the part was changed")
	}
	if _, err := fill(again, "soak", ""); err != nil {
		t.Error(err)
	}
	if _, err := fill("nothing", "chaos", ""); err == nil {
		t.Error("a page without the part is filled")
	}
}

func TestEveryKindOfProblemFailsTheRunAndIsOnThePage(t *testing.T) {
	good := func() Record {
		return Record{Result: job.Result{
			Job:    job.Chaos(),
			Checks: []job.Check{{What: "the table", Found: "all of it"}},
			Trends: []trend.Result{{Measure: trend.Measure{Name: "memory"}, Judged: true, Flat: true}},
			Ready:  []time.Duration{time.Second, 2 * time.Second},

			Withheld: []int{0, 512},
			Verdict: ledger.Verdict{
				TCP: ledger.Requests{Sent: 1000}, UDP: ledger.Requests{Sent: 1000}, AgentAway: ledger.Outages{Times: 20},
				Connections: ledger.Connections{Opened: 24, Echoes: 1000}, Pods: 20,
			},
		}}
	}
	c := &chaos{Experiment: &experiment.Experiment{Plan: experiment.Plan{Progress: io.Discard}}}
	if r := good(); c.verdict(r) != nil || strings.Contains(r.page(), "Not as it should be") {
		t.Error(r.page())
	}
	for name, f := range map[string]func(*Record){
		"5 broken":                     func(r *Record) { r.Verdict.Broken, r.Verdict.Total = make([]ledger.Broken, 5), 5 },
		"only 0 of":                    func(r *Record) { r.Verdict.UDP.Sent = 0 },
		"only 400":                     func(r *Record) { r.Verdict.TCP.ApartAll = map[string]int{ledger.Changing: 600} },
		"only 9 answers on long-lived": func(r *Record) { r.Verdict.Connections.Echoes = 9 },
		"no pod has stopped":           func(r *Record) { r.Verdict.Pods = 0 },
		"3 times":                      func(r *Record) { r.Verdict.AgentAway.Times = 3 },
		"stalled 2 times":              func(r *Record) { r.Withheld = []int{0, 0} },
		"the table":                    func(r *Record) { r.Checks[0].Problem = "it lacks one" },
		"memory":                       func(r *Record) { r.Trends[0].Flat = false },
		"no guest":                     func(r *Record) { r.Errors = []string{"no guest"} },
	} {
		r := good()
		f(&r)
		err := c.verdict(r)
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(r.page(), "Not as it should be") || !strings.Contains(r.page(), name) {
			t.Errorf("%s: %v\n%s", name, err, r.page())
		}
	}
}

// What each fault breaks is found by that alone: something else may be broken as well, or the fault may not be there.
func TestAFaultThatWasPutInHasToBeFound(t *testing.T) {
	c := &chaos{Experiment: &experiment.Experiment{Plan: experiment.Plan{Progress: io.Discard}}}
	failed := func(n int) ledger.Verdict { return ledger.Verdict{TCP: ledger.Requests{Sent: 10_000, Failed: n}} }
	missing := failed(50)
	missing.Missing = 1
	apart := failed(40)
	apart.TCP.ApartAll = map[string]int{ledger.Changing: 9000}
	verdicts := map[string]struct {
		ledger.Verdict
		finds []string
	}{
		"every promise was kept":                       {failed(0), nil},
		"one in 200 failed":                            {failed(50), []string{job.FaultReset}},
		"one in 2,000 failed":                          {failed(5), nil},
		"one in 2 failed":                              {failed(5000), nil},
		"one in 25 failed of those that count":         {apart, nil},
		"one failed of few":                            {ledger.Verdict{TCP: ledger.Requests{Sent: 200, Failed: 1}}, []string{job.FaultReset}},
		"one failed whose virtual server was deleted":  {missing, []string{job.FaultReset, job.FaultDelete}},
		"a pod was asked that had left":                {ledger.Verdict{Stray: 1}, []string{job.FaultStray}},
		"a new connection came to one that terminates": {ledger.Verdict{Late: 1}, nil},
		"a pod of another Service answered":            {ledger.Verdict{Wrong: 1}, nil},
		"a datagram was not answered":                  {ledger.Verdict{UDP: ledger.Requests{Sent: 200, Failed: 1}}, nil},
		"a connection that lived long was cut":         {ledger.Verdict{Connections: ledger.Connections{Cut: 1}}, nil},
	}
	for _, fault := range job.Faults() {
		ever := false
		for name, v := range verdicts {
			r := Record{Result: job.Result{Job: job.Job{Fault: fault}, Verdict: v.Verdict}}
			found := slices.Contains(v.finds, fault)
			ever = ever || found
			if err := c.verdict(r); (err == nil) != found {
				t.Errorf("%s, and %s: %v", fault, name, err)
			}
			if r.Errors = []string{"no guest"}; c.verdict(r) == nil {
				t.Errorf("%s, and %s: a run that went wrong is no error", fault, name)
			}
		}
		if !ever {
			t.Errorf("nothing finds %s", fault)
		}
	}
}
