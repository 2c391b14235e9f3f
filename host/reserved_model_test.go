package host

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// fewPorts generates sets of ports that often have some in common.
func fewPorts() *rapid.Generator[*portSet] {
	return rapid.Map(rapid.SliceOfN(rapid.Uint16Range(0, 40), 0, 12), func(ports []uint16) *portSet {
		s := new(portSet)
		for _, port := range ports {
			s.add(frontend.PortRange{First: port, Last: port})
		}
		return s
	})
}

// A crash may leave any part of the old and of the new ports in the value.
func TestWhereverACrashEndsAChangeOurPortsAreKnown(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		others := fewPorts().Draw(rt, "others")
		ours, goal := fewPorts().Draw(rt, "ours").minus(others), fewPorts().Draw(rt, "goal").minus(others)
		if *ours == *goal {
			return // nothing is written
		}
		left := fewPorts().Draw(rt, "left").intersect(ours.union(goal))
		record := changingRecord("boot", ours, goal)
		if got := record.ours(others.union(left)); *got != *left {
			rt.Errorf("ours are %v, want %v", got.ranges(), left.ranges())
		}
	})
}

// Any history of ours and theirs ends with what they wrote, as long as they extend and shorten what they find.
func TestWhateverHappensRestoreLeavesWhatOthersPut(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := fakeReserved(t, "")
		ports := fewPorts()
		theirs, ours := new(portSet), new(portSet) // the model
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"set", "others add", "others remove", "others replace"}).Draw(rt, "step") {
			case "set":
				wanted := ports.Draw(rt, "wanted")
				if _, err := r.Set(wanted.ranges()); err != nil {
					rt.Fatal(err)
				}
				ours = wanted.minus(theirs)
			case "others add":
				theirs = theirs.union(ports.Draw(rt, "added").minus(ours))
				putReserved(t, r, textOf(theirs.union(ours).ranges()))
			case "others remove":
				theirs = theirs.minus(ports.Draw(rt, "removed"))
				putReserved(t, r, textOf(theirs.union(ours).ranges()))
			case "others replace":
				value := ports.Draw(rt, "value")
				putReserved(t, r, textOf(value.ranges()))
				if ours.minus(value).empty() {
					theirs = value.minus(ours) // nobody can tell that from an addition
				} else {
					theirs, ours = value, new(portSet)
					if _, err := r.Set(nil); err != nil { // the agent looks before the next change
						rt.Fatal(err)
					}
				}
			}
		}
		if _, err := r.Restore(); err != nil {
			rt.Fatal(err)
		}
		v, err := readReserved(r.path())
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(theirs.ranges(), v.ports.ranges()); diff != "" {
			rt.Errorf("what is left (-want +got)\n%s", diff)
		}
	})
}
