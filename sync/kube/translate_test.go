package kube

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Age and identity decide between two Services that claim one port.
func TestTranslateKeepsAgeAndIdentity(t *testing.T) {
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	svc := webService("web", 30080)
	svc.UID, svc.CreationTimestamp = types.UID("u-1"), metav1.NewTime(created)
	got := Translate(svc, nil, testOptions())
	if got.UID != "u-1" || !got.Created.Equal(created) || got.ID.String() != "default/web" {
		t.Errorf("have %q, created %s, called %s", got.UID, got.Created, got.ID)
	}
}
