package nodes

import (
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func pod(namespace, name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + "/" + name)},
		Spec:       corev1.PodSpec{NodeName: node},
	}
}

func TestPodsOfANamespaceSpreadOverTheNodes(t *testing.T) {
	k := newKubelet(nil, nil)
	for i, want := range []string{Node1, Node2, Node1, Node2} {
		if got := k.place(pod("shop", string(rune('a'+i)), "")); got != want {
			t.Errorf("pod %d of a namespace is placed on %s, want %s", i+1, got, want)
		}
	}
	k.forget(pod("shop", "b", ""))
	k.forget(pod("shop", "d", ""))
	if got := k.place(pod("shop", "e", "")); got != Node2 {
		t.Errorf("placed on %s, where its like are", got)
	}
	if got := k.place(pod("other", "a", "")); got != Node1 {
		t.Errorf("the first of another namespace is placed on %s: its neighbours do not count", got)
	}
}

func TestAPodWithoutANodeIsBoundOnceAndOneThatEndsIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		k := newKubelet(client, nil)
		ends := pod("shop", "ends", "")
		ends.DeletionTimestamp = new(metav1.Now())
		for _, p := range []*corev1.Pod{pod("shop", "web", ""), pod("shop", "web", ""), ends, pod("shop", "elsewhere", "node3")} {
			k.see(t.Context(), p)
			synctest.Wait()
		}
		var bound []string
		for _, a := range client.Actions() {
			b, ok := a.(clienttesting.CreateAction).GetObject().(*corev1.Binding)
			if !ok {
				t.Fatalf("%v", a)
			}
			bound = append(bound, b.Name+" to "+b.Target.Name)
			if b.UID != "shop/web" {
				t.Errorf("%s would be bound for any pod of its name", b.Name)
			}
		}
		if len(bound) != 1 || bound[0] != "web to "+Node1 {
			t.Errorf("bound %v", bound)
		}
		if len(k.workers) > 0 {
			t.Errorf("runs %d pods of another's node", len(k.workers))
		}
	})
}
