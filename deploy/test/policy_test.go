package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
)

// asks records what it is asked, and allows it if allow is set.
type asks struct {
	allow bool
	asked []string
}

func (a *asks) Authorize(_ context.Context, attr authorizer.Attributes) (authorizer.Decision, string, error) {
	a.asked = append(a.asked, fmt.Sprintf("%s %s.%s in %s", attr.GetVerb(), attr.GetResource(), attr.GetAPIGroup(), attr.GetNamespace()))
	if a.allow {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionDeny, "", nil
}

// request is a Service that somebody writes. Annotations are nil where it has none.
type request struct{ old, new map[string]any }

func service(annotations map[string]any) map[string]any {
	meta := map[string]any{"name": "web", "namespace": "shop"}
	if annotations != nil {
		meta["annotations"] = annotations
	}
	return map[string]any{"metadata": meta}
}

// admit evaluates a policy with the expression language of the API server, and returns the message of a refusal.
func admit(t *testing.T, spec admissionv1.ValidatingAdmissionPolicySpec, r request, create bool, a *asks) string {
	t.Helper()
	base, err := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 30),
		EnvOptions: []cel.EnvOption{
			cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType), cel.Variable("request", cel.DynType),
			cel.Variable("variables", cel.DynType), cel.Variable("authorizer", library.AuthorizerType),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	env := base.NewExpressionsEnv()
	variables := map[string]any{}
	input := map[string]any{
		"object": service(r.new), "oldObject": nil, "variables": variables,
		"request":    map[string]any{"namespace": "shop", "userInfo": map[string]any{"username": "bob"}},
		"authorizer": library.NewAuthorizerVal(&user.DefaultInfo{Name: "bob"}, authorizer.UnconditionalAuthorizer(a)),
	}
	if !create {
		input["oldObject"] = service(r.old)
	}
	evaluate := func(expression string) any {
		t.Helper()
		ast, issues := env.Compile(expression)
		if issues.Err() != nil {
			t.Fatalf("%s: %v", expression, issues.Err())
		}
		program, err := env.Program(ast)
		if err != nil {
			t.Fatal(err)
		}
		value, _, err := program.Eval(input)
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		return value.Value()
	}
	for _, v := range spec.Variables {
		variables[v.Name] = evaluate(v.Expression)
	}
	for _, v := range spec.Validations {
		if evaluate(v.Expression) != true {
			return evaluate(v.MessageExpression).(string)
		}
	}
	return ""
}

func policySpec(t *testing.T) (spec admissionv1.ValidatingAdmissionPolicySpec) {
	t.Helper()
	if err := json.Unmarshal([]byte(toJSON(t, find(t, plain(t), "ValidatingAdmissionPolicy")["spec"])), &spec); err != nil {
		t.Fatal(err)
	}
	return spec
}

// An expression that is right does nothing where the policy is not asked or not obeyed.
func TestPolicyIsAskedAboutEveryServiceAndObeyed(t *testing.T) {
	spec, policy := policySpec(t), find(t, plain(t), "ValidatingAdmissionPolicy")
	const services = `{"resourceRules":[{"operations":["CREATE","UPDATE"],"apiGroups":[""],"apiVersions":["v1"],"resources":["services","services/status"]}]}`
	if diff := cmp.Diff(services, toJSON(t, spec.MatchConstraints)); diff != "" || *spec.FailurePolicy != admissionv1.Fail {
		t.Errorf("failure policy %s, constraints (-want +got):\n%s", *spec.FailurePolicy, diff)
	}
	bound := find(t, plain(t), "ValidatingAdmissionPolicyBinding")["spec"].(map[string]any)
	want := map[string]any{"policyName": policy.at("metadata", "name"), "validationActions": []any{"Deny", "Audit"}}
	if diff := cmp.Diff(want, bound); diff != "" {
		t.Errorf("binding (-want +got):\n%s", diff)
	}
}

// A role that lacks the group, or has another verb, lets nobody set anything.
func TestTheRoleAllowsWhatThePolicyAsksAbout(t *testing.T) {
	rules := find(t, plain(t), "ClusterRole", "kube-ipvs-network-operator")["rules"]
	if diff := cmp.Diff(`[{"apiGroups":["kube-ipvs.io"],"resources":["guardedannotations"],"verbs":["set"]}]`, toJSON(t, rules)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	a := &asks{}
	admit(t, policySpec(t), request{new: map[string]any{"kube-ipvs.io/networks": "dmz"}}, true, a)
	if want := []string{"set guardedannotations.kube-ipvs.io in shop"}; !slices.Equal(a.asked, want) {
		t.Errorf("asked %q, want %q", a.asked, want)
	}
}

func TestPolicyGuardsEveryAnnotationThatRestricts(t *testing.T) {
	documented, err := os.ReadFile(filepath.Join("..", "..", "docs", "services.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"networks", "source-ranges", "deny-source-ranges", "extra-ports"} {
		name = "kube-ipvs.io/" + name
		if !strings.Contains(string(documented), `metadata.annotations["`+name+`"]`) {
			t.Errorf("the agent does not know %s", name)
		}
		message := admit(t, policySpec(t), request{new: map[string]any{name: "x"}}, true, &asks{})
		if !strings.Contains(message, "may not set "+name+" in") {
			t.Errorf("%s: %q", name, message)
		}
	}
}

func TestPolicyAsksRBACAboutAnnotationsThatChange(t *testing.T) {
	spec := policySpec(t)
	const networks, scheduler = "kube-ipvs.io/networks", "kube-ipvs.io/scheduler"
	dmz, inside := map[string]any{networks: "dmz", scheduler: "rr"}, map[string]any{networks: "inside", scheduler: "rr"}
	free := map[string]any{scheduler: "wlc", "example.org/x": "y"}
	for _, c := range []struct {
		name    string
		create  bool
		request request
		guarded bool
	}{
		{"a new Service without annotations", true, request{}, false},
		{"a new Service with a scheduler", true, request{new: free}, false},
		{"a new Service with networks", true, request{new: dmz}, true},
		{"another scheduler beside the same networks", false, request{old: dmz, new: map[string]any{networks: "dmz", scheduler: "wlc"}}, false},
		{"other networks", false, request{old: dmz, new: inside}, true},
		{"networks are added", false, request{new: dmz}, true},
		{"networks are removed", false, request{old: dmz, new: free}, true},
		{"all annotations are removed", false, request{old: dmz}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			may, mayNot := &asks{allow: true}, &asks{}
			if message := admit(t, spec, c.request, c.create, may); message != "" {
				t.Errorf("refused to those who may: %s", message)
			}
			message := admit(t, spec, c.request, c.create, mayNot)
			if refused := message != ""; refused != c.guarded {
				t.Errorf("refused: %t (%s), want %t", refused, message, c.guarded)
			}
			if c.guarded && !strings.Contains(message, "bob may not set "+networks) {
				t.Errorf("the message is %q", message)
			}
			if want := []string{"set guardedannotations.kube-ipvs.io in shop"}; c.guarded && !slices.Equal(mayNot.asked, want) {
				t.Errorf("asked %q, want %q", mayNot.asked, want)
			}
		})
	}
}
