package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

func TestAProfileIsKeptAsSoonAsTheProgramAnswers(t *testing.T) {
	path := filepath.Join(t.TempDir(), profileName("kube-proxy-nftables/1s", 2700, result.Restart))
	if got := filepath.Base(path); got != "kube-proxy-nftables-1s-2700-restart.pprof" {
		t.Errorf("its name is %s", got)
	}
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		late := func(context.Context, string) (string, error) {
			if asked++; asked < 5 {
				return "", errors.New("connection refused")
			}
			return "profile", nil
		}
		if err := keepProfile(t.Context(), late, "", path, time.Minute); err != nil {
			t.Error(err)
		}
		never := func(context.Context, string) (string, error) { return "", os.ErrNotExist }
		if err := keepProfile(t.Context(), never, "", path, time.Minute); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("of a program that never answers: %v", err)
		}
	})
	if b, err := os.ReadFile(path); err != nil || string(b) != "profile" {
		t.Errorf("%q, %v", b, err)
	}
}
