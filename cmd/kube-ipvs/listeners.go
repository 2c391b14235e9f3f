package main

import (
	"context"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

func listeners() ([]sync.Listener, error) { return nil, nil }

func (o *options) reserve(ctx context.Context) func(*allocator.Ports) error { return nil }
