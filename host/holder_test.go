package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// bindName takes a name and does not listen.
func bindName(t *testing.T, name string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		t.Fatal(err)
	}
}

func TestWhoListensOnANameIsKnownByTheKernelsWord(t *testing.T) {
	name := testLock(t)
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h, listens := HolderOf(name)
	if !listens || h.PID != os.Getpid() || h.UID != os.Geteuid() || h.Command == "" || !h.Trusted() {
		t.Errorf("%+v, listens: %v", h, listens)
	}
}

func TestRootAndOneselfAreTrustedAndNobodyElse(t *testing.T) {
	for self, trusted := range map[int][]int{0: {0}, 1000: {0, 1000}, 65534: {0, 65534}, -1: {0}} { // who cannot be seen is nobody
		for _, uid := range []int{-1, 0, 1, 999, 1000, 1001, 65534} {
			if got, want := (Holder{UID: uid}).trustedBy(self), slices.Contains(trusted, uid); got != want {
				t.Errorf("user %d is trusted by user %d: %v, want %v", uid, self, got, want)
			}
		}
	}
	// Where this runs as root, the two are one: they are told apart above.
	for uid, want := range map[int]bool{0: true, os.Geteuid(): true, os.Geteuid() + 1: false, -1: false} {
		if got := (Holder{UID: uid}).Trusted(); got != want {
			t.Errorf("user %d is trusted by this process: %v, want %v", uid, got, want)
		}
	}
}

func TestWhoHasANameAndDoesNotListenIsFound(t *testing.T) {
	if _, err := boundTo("@kube-ipvs/test/nobody"); !errors.Is(err, unix.ENOENT) {
		t.Fatalf("a name that nobody has: %v (the kernel needs CONFIG_UNIX_DIAG)", err)
	}
	name := fmt.Sprintf("@t/%d", os.Getpid())                           // short: a name has 108 bytes, and the next one has two
	bindName(t, name+"\n0: 00000002 00000000 00010000 0001 01 1 "+name) // in /proc/net/unix the socket of process 1
	bindName(t, name)
	h, listens := HolderOf(name)
	if want := (Holder{PID: os.Getpid(), UID: os.Geteuid(), Command: h.Command}); listens || h != want || h.Command == "" {
		t.Errorf("%+v, listens: %v, want %+v", h, listens, want)
	}
	_, err := lock(name)
	var held *HeldError
	if !errors.As(err, &held) || !held.Silent || !strings.Contains(err.Error(), "does not answer, as an agent would: end it") {
		t.Errorf("the lock: %v", err)
	}
}

// A queue that is full answers nobody: its holder keeps the name without taking a connection.
func TestWhoseQueueIsFullIsFoundAllTheSame(t *testing.T) {
	name := testLock(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: name}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for { // until the queue is full
		c, err := net.Dial("unix", name)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if h, listens := HolderOf(name); listens || h.PID != os.Getpid() || h.UID != os.Geteuid() {
		t.Errorf("%+v, listens: %v", h, listens)
	}
}

// Any program may call itself anything.
func TestTheNameOfAHolderDoesNothingToATerminal(t *testing.T) {
	program := t.TempDir() + "/\x1b[2J\nroot\u202e"
	if err := os.Symlink("/bin/cat", program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = in.Close(), cmd.Wait() }()
	if _, err := in.Write([]byte("x")); err != nil { // it runs, and has its name
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	h := Holder{PID: cmd.Process.Pid, UID: 0, Command: command(os.DirFS("/proc"), cmd.Process.Pid)}
	if !strings.Contains(h.Command, "\x1b[2J\nroot") {
		t.Fatalf("it is called %q", h.Command)
	}
	got := (&HeldError{Holder: h}).Error()
	if want := `("\x1b[2J\nroot\u202e", user 0)`; strings.ContainsAny(got, "\x1b\n\u202e") || !strings.Contains(got, want) {
		t.Errorf("%q", got)
	}
}

func TestAnAnswerAboutSocketsThatIsCutShortNamesNobody(t *testing.T) {
	const name = "@kube-ipvs/writer"
	whole := make([]byte, sizeofUnixDiagMessage)
	whole[0], whole[1] = unix.AF_UNIX, unix.SOCK_STREAM
	binary.NativeEndian.PutUint32(whole[4:], 4026)
	attribute := func(kind uint16, value string) {
		whole = binary.NativeEndian.AppendUint16(whole, uint16(unix.SizeofNlAttr+len(value)))
		whole = append(binary.NativeEndian.AppendUint16(whole, kind), value...)
		for len(whole)%unix.NLA_ALIGNTO != 0 {
			whole = append(whole, 0)
		}
	}
	attribute(unixDiagUID, string(binary.NativeEndian.AppendUint32(nil, 1000)))
	attribute(unixDiagName, "\x00kube-ipvs/writer")
	if b, is := readBound(whole, name); !is || b != (boundSocket{4026, 1000}) {
		t.Errorf("%+v, %v", b, is)
	}
	if b, is := readBound(whole, name+"2"); is {
		t.Errorf("of another name: %+v", b)
	}
	for n := range len(whole) - 3 { // without its padding it is whole
		if b, is := readBound(whole[:n], name); is {
			t.Errorf("of %d bytes: %+v", n, b)
		}
	}
	whole[1] = unix.SOCK_DGRAM // datagrams have names of their own
	if b, is := readBound(whole, name); is {
		t.Errorf("a socket for datagrams: %+v", b)
	}
}
