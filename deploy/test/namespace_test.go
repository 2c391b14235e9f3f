package deploy

import "testing"

// A role that is bound to an account of another namespace lets the agent see nothing.
func TestAKustomizationOfOnesOwnChoosesTheNamespace(t *testing.T) {
	all := kustomize(t, "test/testdata/elsewhere")
	for _, o := range all {
		switch o["kind"] {
		case "ClusterRole":
		case "ClusterRoleBinding":
			if got := toJSON(t, o["subjects"]); got != `[{"kind":"ServiceAccount","name":"kube-ipvs","namespace":"elsewhere"}]` {
				t.Errorf("the role is bound to %s", got)
			}
		default:
			if got := o.at("metadata", "namespace"); got != "elsewhere" {
				t.Errorf("%s is in %v", o.key(), got)
			}
		}
	}
	if len(all) < 8 {
		t.Errorf("there are %d objects only", len(all))
	}
}
