package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// What is wrong with the command line ends a command before it looks at the node.
func TestCommandLineIsJudgedBeforeTheNodeIsTouched(t *testing.T) {
	for _, command := range []string{"run", "check"} {
		for _, c := range []struct {
			name string
			args []string
			want string
		}{
			{"a value", []string{"--ipvs-scheduler=fastest"}, `unknown scheduler "fastest"`},
			{"a file that is not there", []string{"--config=/does/not/exist", "--ipvs-scheduler=fastest"}, "--config: open /does/not/exist"},
			{"an argument", []string{"now"}, `"now"`},
		} {
			stdout, stderr, code := kubeIPVS(t, "", append([]string{command}, c.args...)...)
			if code != 1 || stdout != "" || !strings.HasPrefix(stderr, "kube-ipvs: ") || !strings.Contains(stderr, c.want) {
				t.Errorf("%s, %s: exit code %d, output %q, errors %q; want 1, nothing and %q", command, c.name, code, stdout, stderr, c.want)
			}
		}
	}
}

func TestPlanTakesItsFlagsFromAFileToo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("node-name: node1\noutput: json\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := kubeIPVS(t, "kind: Node\napiVersion: v1\nmetadata: {name: node1}\n", "plan", "--manifests=-", "--config", path)
	if code != 0 || !strings.Contains(stdout, `"node": "node1"`) {
		t.Errorf("exit code %d, output %q, errors %q", code, stdout, stderr)
	}
}

func TestVersionIsPrinted(t *testing.T) {
	if stdout, _, code := kubeIPVS(t, "", "version"); stdout != "kube-ipvs dev\n" || code != 0 {
		t.Errorf("have %q, exit code %d", stdout, code)
	}
}

func TestCheckPrintsWhatIsThereAndWhatToDo(t *testing.T) {
	for _, c := range []struct {
		worst  host.Status
		status string
		last   string
	}{
		{host.OK, "ok", "The agent can work on this node."},
		{host.Warn, "warning", "The agent can work on this node; mind the warnings."},
		{host.Fail, "FAILED", "The agent cannot work on this node before what FAILED is mended."},
	} {
		var out strings.Builder
		printItems(&out, []host.Item{
			{Name: "kernel", Status: host.OK, Detail: "6.1"},
			{Name: "nft", Status: c.worst, Detail: "there is no nft", Mend: "install it"},
		})
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		want := []string{"ok kernel 6.1", c.status + " nft there is no nft", "→ install it", "", c.last}
		for i := range want {
			if len(lines) != len(want) || strings.Join(strings.Fields(lines[i]), " ") != want[i] {
				t.Errorf("have\n%swant\n%s", out.String(), strings.Join(want, "\n"))
				break
			}
		}
	}
}

func TestCheckReadsTheSourceAsRunWould(t *testing.T) {
	const service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}\n"
	const node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: node1}\nstatus: {addresses: [{type: InternalIP, address: 10.1.0.10}]}\n"
	for _, c := range []struct {
		name, stdin, kubeconfig string
		status                  host.Status
		detail                  string
		primary                 int
	}{
		{"all there", service + node, "", host.OK, "Services with node ports: 1", 1},
		{"a document that cannot be read", service + node + "---\nkind: [\n", "", host.Warn, "Services with node ports: 1; standard input document 3", 1},
		{"a kubeconfig that is not there", "", "/does/not/exist", host.Fail, "/does/not/exist", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := &options{nodeName: "node1", manifests: "-"}
			if c.kubeconfig != "" {
				o.manifests, o.kubeconfig = "", c.kubeconfig
			}
			n, item := o.checkSource(t.Context(), strings.NewReader(c.stdin))
			if item.Status != c.status || !strings.Contains(item.Detail, c.detail) || (item.Mend != "") != (c.status == host.Fail) {
				t.Errorf("have %+v, want %s %q", item, c.status, c.detail)
			}
			if len(n.Primary()) != c.primary {
				t.Errorf("the Node is %+v", n)
			}
		})
	}
}

func TestLongListsAreCut(t *testing.T) {
	ids := make([]sync.ServiceID, 9)
	for i := range ids {
		ids[i] = sync.ServiceID{Namespace: "a", Name: "b"}
	}
	if got, want := joined(ids), strings.Repeat("a/b, ", 7)+"a/b and 1 more"; got != want {
		t.Errorf("have %q, want %q", got, want)
	}
	if got := joined(frontend.Protocols()); got != "tcp, udp, sctp" {
		t.Errorf("have %q", got)
	}
}

func TestCheckSaysWhyNothingCameFromTheAPIServer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	config := `{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: "` + server.URL +
		`"}}], users: [{name: u, user: {token: wrong}}], contexts: [{name: c, context: {cluster: c, user: u}}]}`
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	o := &options{kubeconfig: path, nodeName: "node1"}
	_, item := o.checkSource(ctx, strings.NewReader(""))
	if item.Status != host.Fail || !strings.Contains(item.Detail, "provide credentials") || item.Mend == "" {
		t.Errorf("have %+v, want a failure that speaks of credentials", item)
	}
}
