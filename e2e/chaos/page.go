package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/ledger"
)

// fill replaces a part of a page, between two comments that name it.
func fill(page, part, text string) (string, error) {
	begin, end := "<!-- "+part+": begin -->\n", "<!-- "+part+": end -->"
	before, rest, found := strings.Cut(page, begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return "", fmt.Errorf("it has no part between %q and %q", strings.TrimSpace(begin), end)
	}
	return before + begin + "\n" + strings.TrimSpace(text) + "\n\n" + end + after, nil
}

// page is the run as a part of a page.
func (r *Record) page() string {
	var b strings.Builder
	r.about(&b)
	if !r.Job.Soak {
		r.promises(&b)
	} else {
		r.trends(&b)
	}
	r.checks(&b)
	if problems := r.Problems(); len(problems) > 0 {
		fmt.Fprintf(&b, "\n**Not as it should be:**\n\n```\n%s\n```\n", strings.Join(problems, "\n"))
	}
	if !r.Verdict.Held() {
		fmt.Fprintf(&b, "\n```\n%s```\n", r.Verdict.String())
	}
	return b.String()
}

func (r *Record) about(b *strings.Builder) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(b, "| %s | %s |\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprint(b, "| | |\n|---|---|\n")
	row("date", "%s", r.Date.Format("2006-01-02 15:04 MST"))
	row("command", "`%s`", r.command())
	row("seed", "%d", r.Job.Seed)
	row("length", "%v", r.Job.Duration)
	row("machine", "%s", r.Machine)
	row("kernel", "%s", r.Kernel)
	row("versions", "kube-ipvs %s, Kubernetes %s, %s", r.Versions["kube-ipvs"], r.Versions["kubernetes"], r.Versions["go"])
	row("Services", "%d with TCP and UDP on 6 addresses, and up to 6 that come and go", r.Job.Deployments*r.Job.Each)
	if r.Job.Soak {
		row("churn", "%d changes of %d more Services", r.Changes, r.Job.Churn)
	}
	row("propagation time", "%v: how long the agent has for a change while it runs and its source is there", r.Job.Propagation)
	if n := len(r.Ready); n > 1 {
		row("agent", "killed %d times, ended by SIGTERM %d times; ready again after %s (median), %s at most",
			r.Kills, r.Stops, short(median(r.Ready[1:])), short(slices.Max(r.Ready[1:])))
	}
	if len(r.Rewatch) > 0 {
		row("API server", "refused %d times; the agent watched again after %s (median), %s at most",
			len(r.Rewatch), short(median(r.Rewatch)), short(slices.Max(r.Rewatch)))
	}
	if len(r.Withheld) > 0 {
		effective := slices.DeleteFunc(slices.Clone(r.Withheld), func(n int) bool { return n == 0 })
		row("stalls", "%d of %d held back what the API server or the agent said", len(effective), len(r.Withheld))
	}
	var done []string
	for _, kind := range slices.Sorted(maps.Keys(r.Actions)) {
		done = append(done, fmt.Sprintf("%s %d×", kind, r.Actions[kind]))
	}
	row("done", "%s", strings.Join(done, ", "))
}

func (r *Record) command() string {
	what := "go run ./e2e/chaos"
	if r.Job.Soak {
		what += " -soak"
	}
	return fmt.Sprintf("%s -seed %d -duration %v", what, r.Job.Seed, r.Job.Duration)
}

// promises is the table of what must be 0.
func (r *Record) promises(b *strings.Builder) {
	v := &r.Verdict
	fmt.Fprint(b, "\n| promise | of | broken |\n|---|---|---|\n")
	row := func(what string, of, broken int) {
		fmt.Fprintf(b, "| %s | %s | %s |\n", what, thousands(of), bold(broken))
	}
	row("requests of TCP are answered, at the first try", v.TCP.Counted(), v.TCP.Failed)
	row("requests of UDP are answered, at the second try if need be", v.UDP.Counted(), v.UDP.Failed)
	row("long-lived connections to pods that stay are not cut", v.Connections.Opened, v.Connections.Cut)
	row("no request comes to a pod that has left for longer than the propagation time", v.TCP.Answered+v.UDP.Answered, v.Stray)
	row("no new connection comes to a pod that has terminated for as long", v.TCP.Answered, v.Late)
	row("every answer is of a pod of the Service that was asked", v.TCP.Answered+v.UDP.Answered, v.Wrong)
	c := v.Connections
	fmt.Fprintf(b, "\nBesides: %s datagrams were answered at the second try only. %s answers came on long-lived connections, the longest of\nwhich lived %v; ",
		thousands(v.UDP.Retried), thousands(c.Echoes), c.Longest.Round(time.Second))
	fmt.Fprintf(b, "%d ended with their pods, %d by the client, %d with the drain timeout of a Service that had gone,\n", c.WithPod, c.ByClient, c.WithService)
	fmt.Fprintf(b, "and %d because they spoke while their address was not on the node.\n", c.WithAddress)
	fmt.Fprint(b, "\nCounted apart:\n\n| why | TCP | failed | UDP | failed |\n|---|---|---|---|---|\n")
	for _, reason := range []string{ledger.Changing, ledger.NoAddr, ledger.Unseen} {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", reason, thousands(v.TCP.ApartAll[reason]), thousands(v.TCP.Apart[reason]),
			thousands(v.UDP.ApartAll[reason]), thousands(v.UDP.Apart[reason]))
	}
	fmt.Fprintf(b, "\nOf %d pods that stopped, %d did so before the agent could know: it or its source was away. ", v.Pods, v.UnseenPods)
	fmt.Fprintf(b, "The agent was away for %s\nin all, its source for %s.\n", short(v.AgentAway.Total), short(v.SourceAway.Total))
}

// trends is the table of what must not grow.
func (r *Record) trends(b *strings.Builder) {
	v := &r.Verdict
	fmt.Fprintf(b, "\n%s requests were sent meanwhile, of which %s count: %d failed. %d of %d long-lived connections were cut.\n",
		thousands(v.TCP.Sent+v.UDP.Sent), thousands(v.TCP.Counted()+v.UDP.Counted()), v.TCP.Failed+v.UDP.Failed, v.Connections.Cut, v.Connections.Opened)
	fmt.Fprint(b, "\n| measure | first third | last third | allowed | slope an hour | most | verdict |\n|---|---|---|---|---|---|---|\n")
	for _, t := range r.Trends {
		verdict := "flat"
		switch {
		case !t.Judged:
			verdict = "not judged: too short"
		case !t.Flat:
			verdict = "**grows**"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %+.3g | %s | %s |\n", t.Name, unit(t.First, t.Unit), unit(t.Last, t.Unit),
			unit(t.First*(1+t.Share)+t.Slack, t.Unit), t.Slope, unit(t.Max, t.Unit), verdict)
	}
}

func (r *Record) checks(b *strings.Builder) {
	if len(r.Checks) == 0 {
		return
	}
	fmt.Fprint(b, "\nAfterwards:\n\n| check | found |\n|---|---|\n")
	for _, c := range r.Checks {
		found := c.Found
		if c.Problem != "" {
			found = "**" + strings.ReplaceAll(c.Problem, "\n", " ") + "**"
		}
		fmt.Fprintf(b, "| %s | %s |\n", c.What, found)
	}
}

func unit(v float64, unit string) string { return strings.TrimSpace(fmt.Sprintf("%.4g %s", v, unit)) }

func bold(broken int) string {
	if broken == 0 {
		return "0"
	}
	return fmt.Sprintf("**%d**", broken)
}

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}

func short(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
