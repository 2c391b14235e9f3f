package ipvsfake_test

import (
	"testing"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvstest"
)

// The same suite runs on a real kernel (package ipvs, build tag kernel).
func TestContract(t *testing.T) {
	ipvstest.Contract(t, func(*testing.T) ipvs.Handle { return ipvsfake.New() })
}
