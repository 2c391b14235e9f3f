package ipvs

import (
	"errors"
	"math"
	"syscall"
	"testing"
	"time"
)

func TestTimeoutsAreReadAsTheyAreWritten(t *testing.T) {
	for _, want := range []Timeouts{
		{TCP: 15 * time.Minute, TCPFin: 2 * time.Minute, UDP: 5 * time.Minute},
		{TCP: math.MaxInt32 * time.Second},
		{},
	} {
		m, rest, err := nextMessage(appendTimeouts(nil, testFamily, 7, want))
		if err != nil || len(rest) > 0 || m.typ != testFamily || m.seq != 7 || m.payload[0] != cmdSetConfig {
			t.Fatalf("message %+v, rest %d, %v", m, len(rest), err)
		}
		if got, err := decodeTimeouts(m); err != nil || got != want {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	}
}

func TestTimeoutsOfAKernelWithoutUDPHaveNoneForIt(t *testing.T) {
	b := appendHeaders(nil, testFamily, 0, 1, cmdSetConfig)
	b = appendU32(b, attrTimeoutTCP, 900)
	b = appendU32(b, 99, 1) // of a newer kernel
	m, _, err := nextMessage(closeMessage(b, 0))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeTimeouts(m); err != nil || got != (Timeouts{TCP: 15 * time.Minute}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestABrokenAnswerHasNoTimeouts(t *testing.T) {
	whole := appendTimeouts(nil, testFamily, 1, Timeouts{TCP: time.Minute})
	for _, payload := range [][]byte{whole[sizeHeader : sizeHeader+2], whole[sizeHeader : len(whole)-3], {0, 0, 0, 0, 6, 0, attrTimeoutTCP, 0, 1, 1}} {
		if got, err := decodeTimeouts(message{payload: payload}); !errors.Is(err, errMalformed) || got != (Timeouts{}) {
			t.Errorf("% x: %v, %v", payload, got, err)
		}
	}
}

func TestATimeoutIsANumberOfSeconds(t *testing.T) {
	for _, d := range []time.Duration{-time.Second, time.Millisecond, 1500 * time.Millisecond, (math.MaxInt32 + 1) * time.Second} {
		if err := (Timeouts{TCP: time.Minute, UDP: d}).validate(); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%s: %v, want %v", d, err, syscall.EINVAL)
		}
	}
	if err := (Timeouts{TCP: math.MaxInt32 * time.Second, TCPFin: time.Second}).validate(); err != nil {
		t.Error(err)
	}
}
