package kindcluster

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/nodes"
)

// Channels of the API server's remote command protocol, version 5.
const (
	protocolV5   = "v5.channel.k8s.io"
	channelIn    = 0
	channelOut   = 1
	channelError = 3
	channelClose = 255
)

// execServer is as much of an API server as exec needs: each Pod has an asker in this process.
type execServer struct {
	*httptest.Server
	gone atomic.Bool // the Pods

	mu    sync.Mutex
	execs []url.URL
	conns []*websocket.Conn
}

func newExecServer(t *testing.T) (*execServer, execFunc) {
	t.Helper()
	s := &execServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.exec(t.Context(), w, r) }))
	t.Cleanup(s.Close)
	config := &rest.Config{Host: s.URL}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return s, executor(config, client)
}

func (s *execServer) exec(life context.Context, w http.ResponseWriter, r *http.Request) {
	if s.gone.Load() {
		http.Error(w, "no such Pod", http.StatusNotFound)
		return
	}
	upgrader := websocket.Upgrader{Subprotocols: []string{protocolV5}}
	c, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	s.mu.Lock()
	s.execs, s.conns = append(s.execs, *r.URL), append(s.conns, c)
	s.mu.Unlock()
	here, there := net.Pipe()
	go readInput(c, there)
	said := make(chan error, 1)
	go func() {
		_, err := io.Copy(channel{c, channelOut}, there)
		said <- err
	}()
	if err := nodes.NewAsker(life).ServeConn(here); err != nil {
		return
	}
	if err := <-said; err != nil {
		return
	}
	_ = json.NewEncoder(channel{c, channelError}).Encode(metav1.Status{Status: metav1.StatusSuccess})
}

// readInput hands over what comes on the channel of input, until that is closed.
func readInput(c *websocket.Conn, in io.WriteCloser) {
	defer in.Close()
	for {
		_, message, err := c.ReadMessage()
		if err != nil || slices.Equal(message, []byte{channelClose, channelIn}) {
			return
		}
		if message[0] == channelIn {
			_, _ = in.Write(message[1:])
		}
	}
}

type channel struct {
	*websocket.Conn
	number byte
}

func (c channel) Write(b []byte) (int, error) {
	return len(b), c.WriteMessage(websocket.BinaryMessage, append([]byte{c.number}, b...))
}

// sever ends all connections, as the end of a Pod does.
func (s *execServer) sever() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
}

func (s *execServer) seen() []url.URL {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.execs)
}

// web answers as a Pod does, over HTTP alone.
func web(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, _, _ := net.SplitHostPort(r.RemoteAddr)
		_, _ = w.Write([]byte("web " + client + "\n"))
	}))
	t.Cleanup(s.Close)
	return s
}

func noPods(string) (podName, error) { return podName{}, errors.New("no pods") }

func containsAll(s string, parts ...string) bool {
	return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(s, p) })
}
