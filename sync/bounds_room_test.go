package sync

import (
	"fmt"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/allocator"
)

// numberedID is that of one of some Services.
func numberedID(i int) ServiceID { return ServiceID{Namespace: "default", Name: fmt.Sprintf("s%d", i)} }

// To sort all Services by their age with every change would cost the more the more there are.
func TestBoundsAskNobodysAgeAsLongAsThereIsRoom(t *testing.T) {
	a, all := newAdmission(), Bounds{Services: 10, VirtualServers: 20}
	for i := range 200 { // the size of each changes, again and again
		a.note(numberedID(i%10), i%3)
		left := a.settle(all, func(id ServiceID) allocator.Owner {
			t.Fatalf("change %d: %s is asked for its age", i, id)
			return allocator.Owner{}
		})
		if len(left) != 0 {
			t.Fatalf("change %d concerns %v", i, left)
		}
	}
}

// Of thousands that are left out none is looked at again because of a change that leaves them out as before.
func TestWhoIsLeftOutAsBeforeIsNotConcerned(t *testing.T) {
	owner := func(id ServiceID) allocator.Owner { return allocator.Owner{ID: id} }
	a, b := newAdmission(), Bounds{Services: 2, VirtualServers: 10}
	settle := func(want int) {
		t.Helper()
		if got := a.settle(b, owner); len(got) != want {
			t.Errorf("%v are concerned, want %d", got, want)
		}
	}
	for i := range 6 {
		a.note(numberedID(i), 2)
	}
	settle(4)
	settle(0)
	a.note(numberedID(0), 3)
	settle(0)
	a.note(numberedID(0), 9) // now it is the virtual servers that are too many, for all but the first
	settle(5)
	for id := range a.leftOut {
		if why := a.leftOut[id]; why != tooManyVirtualServers {
			t.Errorf("%s is left out because of %d", id, why)
		}
	}
	a.note(numberedID(0), 2)
	settle(5)
}
