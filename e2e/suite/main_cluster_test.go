//go:build cluster

package suite_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
	"github.com/kube-ipvs/kube-ipvs/e2e/suite/kindcluster"
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
	os.Exit(cases.Main(m, start))
}

// start starts the cluster that SUITE_PROVIDER names.
func start(ctx context.Context) (suite.Provider, error) {
	switch name := os.Getenv("SUITE_PROVIDER"); name {
	case "", "lab":
		return labcluster.Start(ctx, os.Stderr)
	case "kind":
		return kindcluster.Start(ctx, os.Stderr)
	default:
		return nil, fmt.Errorf("SUITE_PROVIDER: %q is neither lab nor kind", name)
	}
}

// What the lab can do besides.
var _ interface {
	suite.Agents
	suite.Addresses
	suite.APIServer
	suite.Backups
	suite.Proxies
	suite.Shell
	suite.Stopwatch
} = &labcluster.Cluster{}

// What kind cannot do besides, it admits.
var _ interface {
	suite.Provider
	suite.Partial
} = &kindcluster.Cluster{}
