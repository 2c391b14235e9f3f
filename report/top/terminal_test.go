package top

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// terminal is a pseudo terminal with a screen, and the view on it.
type terminal struct {
	t      *testing.T
	master *os.File
	slave  *os.File
	screen vt10x.Terminal
	before unix.Termios
	ended  chan error

	mu  sync.Mutex
	raw strings.Builder // Guarded by mu: everything that was written to it.
}

func open(ctx context.Context, t *testing.T, source Source, o Options) *terminal {
	t.Helper()
	t.Setenv("TERM", "xterm-256color")
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, master: master, slave: slave, screen: vt10x.New(vt10x.WithSize(80, 24)), ended: make(chan error, 1)}
	term.resize(80, 24)
	term.before = term.modes()
	_, _ = term.screen.Write([]byte("$ kube-ipvs top\r\n"))
	go term.copy()
	// slave is left to the garbage collector: who reads from it may be a moment behind a view whose context has ended.
	t.Cleanup(func() { master.Close() })
	o.Location = time.UTC
	go func() { term.ended <- Run(ctx, source, o, slave, slave) }()
	return term
}

// copy brings to the screen what is written to the terminal.
func (t *terminal) copy() {
	buffer := make([]byte, 1<<16)
	for {
		n, err := t.master.Read(buffer)
		if err != nil {
			return
		}
		t.mu.Lock()
		t.raw.Write(buffer[:n])
		t.mu.Unlock()
		_, _ = t.screen.Write(buffer[:n])
	}
}

func (t *terminal) resize(cols, rows uint16) {
	t.t.Helper()
	if err := pty.Setsize(t.master, &pty.Winsize{Cols: cols, Rows: rows}); err != nil {
		t.t.Fatal(err)
	}
	t.screen.Resize(int(cols), int(rows))
}

func (t *terminal) modes() unix.Termios {
	t.t.Helper()
	modes, err := unix.IoctlGetTermios(int(t.slave.Fd()), unix.TCGETS)
	if err != nil {
		t.t.Fatal(err)
	}
	return *modes
}

func (t *terminal) press(keys string) {
	t.t.Helper()
	if _, err := t.master.WriteString(keys); err != nil {
		t.t.Fatal(err)
	}
}

// see is what stands on the screen.
func (t *terminal) see() string {
	var lines []string
	for l := range strings.SplitSeq(t.screen.String(), "\n") {
		lines = append(lines, strings.TrimRight(l, " "))
	}
	return strings.Join(lines, "\n")
}

// await waits until something is seen.
func (t *terminal) await(what string, seen func(screen string) bool) {
	t.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !seen(t.see()) {
		if time.Now().After(deadline) {
			t.t.Fatalf("not seen: %s, but\n%s", what, t.see())
		}
		time.Sleep(5 * time.Millisecond) // between two looks
	}
}

func (t *terminal) awaitText(text string) {
	t.t.Helper()
	t.await(text, func(screen string) bool { return strings.Contains(screen, text) })
}

// awaitEnd waits for the end of the view, and looks whether the terminal is as it was.
func (t *terminal) awaitEnd() {
	t.t.Helper()
	select {
	case err := <-t.ended:
		if err != nil {
			t.t.Errorf("the view ends with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.t.Fatalf("the view does not end:\n%s", t.see())
	}
	if after := t.modes(); after != t.before {
		t.t.Errorf("the modes of the terminal are %+v, were %+v", after, t.before)
	}
	t.await("the screen from before", func(screen string) bool {
		return strings.HasPrefix(screen, "$ kube-ipvs top\n") && !strings.Contains(screen, "Service ports")
	})
	t.await("the cursor", func(string) bool { return t.screen.CursorVisible() })
}

func TestViewOnATerminal(t *testing.T) {
	term := open(t.Context(), t, counting(2700), Options{Interval: 50 * time.Millisecond, Sort: ByConnections})
	term.awaitText("2,700 Service ports")
	term.awaitText("1-19 of 2,700")
	term.await("rates", func(screen string) bool { return !strings.Contains(screen, " - conn/s") })
	if term.modes() == term.before {
		t.Error("the terminal is not in raw mode")
	}
	term.press("n")
	term.awaitText("> default/checko~-name-1002:http")
	term.press("jj\x1b[B\x1b[A")
	term.await("the cursor on the third line", func(screen string) bool { return strings.HasPrefix(strings.Split(screen, "\n")[6], "> default/") })
	term.press("\r")
	term.awaitText("    10.244.1.2:8080")
	term.awaitText("weight 0, off")
	term.press("\r/web-12\r")
	term.awaitText("filter: web-12 (esc clears it)")
	term.awaitText("of 29")
	term.press("?")
	term.awaitText("sort by active connections")
	term.press("x")
	term.awaitText("filter: web-12")
	term.press("\x1b")
	term.awaitText("of 2,700")
	term.resize(120, 40)
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGWINCH); err != nil { // which only the terminal's own process group gets
		t.Fatal(err)
	}
	term.awaitText("NODEPORT") // for which 80 columns are not enough
	term.press("q")
	term.awaitEnd()
}

func TestTerminalIsRestoredHoweverItEnds(t *testing.T) {
	for name, end := range map[string]func(*terminal, context.CancelFunc){
		"ctrl+c":               func(t *terminal, _ context.CancelFunc) { t.press("\x03") },
		"ctrl+c while typing":  func(t *terminal, _ context.CancelFunc) { t.press("/web\x03") },
		"SIGTERM, the context": func(_ *terminal, cancel context.CancelFunc) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			term := open(ctx, t, counting(30), Options{Interval: 50 * time.Millisecond, Sort: ByConnections})
			term.awaitText("30 Service ports")
			end(term, cancel)
			term.awaitEnd()
		})
	}
}

func TestNothingIsShownWhenTheFirstQuestionFails(t *testing.T) {
	gone := errors.New("gone")
	term := open(t.Context(), t, func(context.Context, string) (report.Traffic, error) { return report.Traffic{}, gone }, Options{Interval: time.Hour})
	if err := <-term.ended; !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	if term.raw.Len() > 0 || term.modes() != term.before {
		t.Errorf("to the terminal was written %q", term.raw.String())
	}
}

func TestColoursAreWrittenOnlyIfAskedFor(t *testing.T) {
	for _, color := range []bool{false, true} {
		term := open(t.Context(), t, counting(30), Options{Interval: time.Hour, Sort: ByConnections, Color: color})
		term.awaitText("30 Service ports")
		term.press("q")
		term.awaitEnd()
		term.mu.Lock()
		if got := regexp.MustCompile(`\x1b\[([0-9;]*;)?3[0-7](;[0-9;]*)?m`).MatchString(term.raw.String()); got != color {
			t.Errorf("asked for: %v, and written is %q", color, term.raw.String())
		}
		term.mu.Unlock()
	}
}
