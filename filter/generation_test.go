package filter

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func message(family uint8, kind uint16, value []byte) []byte {
	msg := []byte{family, 0, 0, 0}
	msg = binary.NativeEndian.AppendUint16(msg, uint16(unix.SizeofNlAttr+len(value)))
	msg = binary.NativeEndian.AppendUint16(msg, kind)
	return append(msg, value...)
}

func TestOnlyEventsOfOurTableConcernUs(t *testing.T) {
	tests := []struct {
		name string
		msg  []byte
		want bool
	}{
		{"our table", message(unix.NFPROTO_INET, 1, []byte("kube-ipvs\x00")), true},
		{"a table of the same name in another family", message(unix.NFPROTO_IPV4, 1, []byte("kube-ipvs\x00")), false},
		{"a table whose name begins like ours", message(unix.NFPROTO_INET, 1, []byte("kube-ipvs-2\x00")), false},
		{"another attribute with our name", message(unix.NFPROTO_INET, 2, []byte("kube-ipvs\x00")), false},
		{"the name behind another attribute", append(message(unix.NFPROTO_INET, 3, []byte{1, 2, 3, 4}),
			message(0, 1, []byte("kube-ipvs\x00"))[4:]...), true},
		{"nothing", nil, false},
		{"a name cut off", message(unix.NFPROTO_INET, 1, []byte("kube-ipvs\x00"))[:12], false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := concernsUs(test.msg); got != test.want {
				t.Errorf("concernsUs = %v, want %v", got, test.want)
			}
		})
	}
}

func TestAGenerationIsOursOnce(t *testing.T) {
	var g generations
	if !g.begin() || g.begin() {
		t.Error("want the first watch to begin, and no second one beside it")
	}
	g.ours[math.MaxUint32], g.ours[1] = struct{}{}, struct{}{}
	for _, step := range []struct {
		id   uint32
		want bool
	}{{math.MaxUint32, true}, {0, false}, {1, true}, {1, false}, {2, false}} {
		if got := g.mine(step.id); got != step.want {
			t.Errorf("mine(%d) = %v, want %v", step.id, got, step.want)
		}
	}
	if len(g.ours) != 0 {
		t.Errorf("still remembered: %v", g.ours)
	}
	g.end()
	if !g.begin() {
		t.Error("want a watch after the first has ended")
	}
}

func TestAFailedTransactionIsReturnedWatchedOrNot(t *testing.T) {
	var g generations
	failed := errors.New("failed")
	for range 2 {
		if err := g.during(func() error { return failed }); !errors.Is(err, failed) {
			t.Errorf("during = %v", err)
		}
		g.begin()
	}
}

func TestAKernelWithoutNftablesIsToldFromOneThatRefuses(t *testing.T) {
	for err, want := range map[error]bool{
		unix.EINVAL: true, unix.EPROTONOSUPPORT: true, os.NewSyscallError("socket", unix.EPROTONOSUPPORT): true,
		unix.EPERM: false, unix.EAFNOSUPPORT: false, unix.ENOBUFS: false,
	} {
		got := lacking(err)
		if errors.Is(got, ErrNoNFTables) != want || !errors.Is(got, err) {
			t.Errorf("%v is %v", err, got)
		}
	}
}
