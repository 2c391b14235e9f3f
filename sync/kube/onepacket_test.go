package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOnePacketIsOnOrOff(t *testing.T) {
	for value, want := range map[string]struct {
		on      bool
		setting string
	}{
		"true":   {true, "one-packet: true"},
		" true ": {true, "one-packet: true"},
		"false":  {false, "one-packet: false"},
		"":       {false, `one-packet:  | "" is neither true nor false; a sender's datagrams stay together`},
		"yes":    {false, `one-packet:  | "yes" is neither true nor false; a sender's datagrams stay together`},
	} {
		got := Translate(annotated("one-packet="+value), nil, testOptions())
		if len(got.Ports) != 1 || got.Ports[0].OnePacket != want.on {
			t.Errorf("%q: ports are %+v, want one-packet %t", value, got.Ports, want.on)
		}
		if diff := cmp.Diff([]string{want.setting}, settingsText(got)); diff != "" {
			t.Errorf("%q: settings (-want +got):\n%s", value, diff)
		}
	}
}
