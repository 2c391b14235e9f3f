//go:build cluster

package suite_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
	"github.com/kube-ipvs/kube-ipvs/e2e/suite/labcluster"
)

// cases is a variable since package testing leaves no other way from TestMain to tests.
var cases *suite.Suite

func TestMain(m *testing.M) {
	var err error
	if cases, err = suite.New(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(cases.Main(m, func(ctx context.Context) (suite.Provider, error) {
		return labcluster.Start(ctx, os.Stderr)
	}))
}

// What the lab can do besides.
var _ interface {
	suite.Agents
	suite.Addresses
	suite.APIServer
	suite.Proxies
	suite.Shell
	suite.Stopwatch
} = &labcluster.Cluster{}
