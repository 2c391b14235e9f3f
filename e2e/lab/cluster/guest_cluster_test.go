//go:build cluster

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

const guestKubeconfig = "/lab/kubeconfig"

func TestANodeInAGuestSpeaksToTheAPIServerAsItsServiceAccount(t *testing.T) {
	c := start(t, Options{Controllers: []string{}})
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "agent"}}
	must[*corev1.ServiceAccount](t)(client(t, c.Admin()).CoreV1().ServiceAccounts("default").
		Create(t.Context(), account, metav1.CreateOptions{}))
	config, err := c.ServiceAccount(t.Context(), "default", "agent")
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, must[[]byte](t)(Kubeconfig(c.ForGuest(config))), 0o600); err != nil {
		t.Fatal(err)
	}
	l := must[*lab.Lab](t)(lab.New(os.Stderr))
	g := &lab.Guest{
		Kernel:  must[lab.Kernel](t)(l.Prepare(t.Context(), false)),
		Init:    must[string](t)(lab.BuildInit(t.Context(), t.TempDir())),
		Memory:  "1G",
		Files:   []lab.File{{Source: must[string](t)(os.Executable()), Dest: "/lab/self"}, {Source: kubeconfig, Dest: guestKubeconfig}},
		Network: &lab.Network{},
		Timeout: 3 * time.Minute,
	}
	said := &transcript{}
	step := lab.Step{Name: "guest", Args: []string{"/lab/self"}, Network: true, OneStream: true}
	_, err = g.Run(t.Context(), lab.Job{Steps: []lab.Step{step}}, said)
	t.Logf("the guest said:\n%s", &said.output)
	if err != nil || said.code != 0 {
		t.Errorf("guest: code %d, %v", said.code, err)
	}
	denials, err := c.Denials()
	if err != nil || len(denials) != 1 || denials[0].User != "system:serviceaccount:default:agent" {
		t.Errorf("denials %v, %v, want that of the agent", denials, err)
	}
}

// inGuest is the guest's part: node1 asks for what every ServiceAccount may know, and for what this one may not.
func inGuest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	n, err := topo.New(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = n.Close() }()
	if err := n.JoinUserNetwork(); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", guestKubeconfig)
	if err != nil {
		return err
	}
	config.Dial = func(ctx context.Context, _, address string) (net.Conn, error) {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, err
		}
		return n.Node1.Dial(ctx, topo.TCP, to)
	}
	k, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	for range 3 {
		began := time.Now()
		version, err := k.Discovery().ServerVersion()
		if err != nil {
			return err
		}
		fmt.Printf("the API server is %s, which took %v\n", version.GitVersion, time.Since(began).Round(time.Millisecond))
	}
	if _, err := k.CoreV1().Services("").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		return fmt.Errorf("list of Services: %w, want it forbidden", errors.Join(err, ctx.Err()))
	}
	return nil
}

// transcript is a lab.Observer.
type transcript struct {
	output strings.Builder
	code   int
}

func (*transcript) Started(int)                               { /* there is one step */ }
func (r *transcript) Output(_ int, _ lab.Stream, data []byte) { r.output.Write(data) }
func (r *transcript) Exited(e lab.Exit)                       { r.code = e.Code }
