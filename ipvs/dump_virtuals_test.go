package ipvs

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// dumped are the virtual servers of a dump, and how often each came.
func dumped(t *testing.T, answers ...[]byte) (map[frontend.Key]VirtualServer, int, error) {
	t.Helper()
	all, came := map[frontend.Key]VirtualServer{}, 0
	err := (&recorded{answers: answers}).writer().dumpVirtuals(t.Context(), func(key frontend.Key, v VirtualServer) {
		all[key] = v
		came++
	})
	return all, came, err
}

func TestVirtualServersAreDumpedWithTheirConfiguration(t *testing.T) {
	one, two := mustKey("tcp://10.1.0.10:1"), mustKey("udp://[fd01::10]:53")
	marked := virtualAttrs(one, Counters{})
	marked = append([][]byte{marked[0], attr32(svcAttrMark, 7)}, marked[4:]...)
	all, came, err := dumped(t,
		answer(0x21, 4, virtualMessage(virtual(mustKey("tcp://10.9.0.9:1"), 0, 0, []byte{255, 255, 255, 255})...).payload), // of an earlier exchange
		slices.Concat(
			answer(0x21, 5, virtualMessage(virtual(one, 1, 300, []byte{255, 255, 255, 0})...).payload),
			answer(0x21, 5, virtualMessage(marked...).payload)),
		answer(0x21, 5, virtualMessage(virtual(two, 0, 0, wire(uint32(128)))...).payload),
		done(5),
	)
	if err != nil {
		t.Fatal(err)
	}
	want := map[frontend.Key]VirtualServer{
		one: {Scheduler: "wlc", Flags: Persistent, PersistenceTimeout: 300, PersistencePrefix: 24},
		two: {Scheduler: "wlc"},
	}
	if came != len(want) {
		t.Errorf("%d came: %v", came, all)
	}
	for key, v := range want {
		if all[key] != v {
			t.Errorf("%s: %+v, want %+v", key, all[key], v)
		}
	}
}

// Half a table would be taken for the whole: what is missing would be made anew.
func TestVirtualServersThatAreNotAllReadAreAnError(t *testing.T) {
	key := mustKey("tcp://10.1.0.10:1")
	whole := answer(0x21, 5, virtualMessage(virtual(key, 0, 0, []byte{255, 255, 255, 255})...).payload)
	part := answer(0x21, 5, virtualMessage(virtualAttrs(key, Counters{})[:4]...).payload) // an address alone
	for name, c := range map[string]struct {
		answers [][]byte
		came    int
		want    error
	}{
		"one has no scheduler":     {[][]byte{whole, part, done(5)}, 1, errMalformed},
		"the end does not come":    {[][]byte{whole}, 1, ErrSilent},
		"the kernel breaks it off": {[][]byte{whole, answer(msgDone, 5, wire(^uint32(syscall.EINTR)+1))}, 1, syscall.EINTR},
	} {
		_, came, err := dumped(t, c.answers...)
		if !errors.Is(err, c.want) || came != c.came {
			t.Errorf("%s: %d came, %v, want %v", name, came, err, c.want)
		}
		if errors.Is(err, errMalformed) && !strings.HasPrefix(err.Error(), "virtual server: ") {
			t.Errorf("%s: %v does not say of what", name, err)
		}
	}
}

func TestARealServerThatCannotBeReadIsNeitherSameNorMissing(t *testing.T) {
	key := mustKey("tcp://10.1.0.10:30080")
	part := answer(0x21, 5, destMessage(destAttrs()[:2]...).payload)
	same, err := (&recorded{answers: [][]byte{part, done(5)}}).writer().sameReals(t.Context(), key, nil, nil)
	if !errors.Is(err, errMalformed) || !strings.Contains(err.Error(), "real server of "+key.String()) {
		t.Errorf("compared: the same: %v, %v", same, err)
	}
	self := answer(0x21, 6, virtualMessage(virtualAttrs(key, Counters{})...).payload)
	for name, answers := range map[string][][]byte{
		"a real server":      {part, self, done(5)},
		"the virtual server": {answer(0x21, 6, virtualMessage(virtualAttrs(key, Counters{})[:4]...).payload), done(5)},
	} {
		_, err := (&recorded{answers: answers}).writer().get(t.Context(), key, func(d dest) { t.Errorf("%s: %s is told", name, d.key) })
		if !errors.Is(err, errMalformed) {
			t.Errorf("%s cannot be read: %v", name, err)
		}
	}
}

// unsent is a kernel that nothing can be sent to.
type unsent struct{ recorded }

func (unsent) send([]byte) error { return syscall.ENOBUFS }

func TestARequestThatWasNotSentIsNotWaitedFor(t *testing.T) {
	link := &unsent{recorded{answers: [][]byte{done(5)}}}
	w := &writer{link: link, family: 0x21, seq: 5}
	err := w.dumpVirtuals(t.Context(), func(frontend.Key, VirtualServer) { t.Error("a virtual server") })
	if !errors.Is(err, syscall.ENOBUFS) || link.next != 0 {
		t.Errorf("%v after %d answers", err, link.next)
	}
}
