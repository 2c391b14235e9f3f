package count

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

// counters are those of one process and all that it starts.
type counters struct {
	cpu    *os.File
	events []event
	files  []*os.File // of events, in their order
}

// attach attaches counters to a thread that is going to execute a program: CPU time is counted from then on.
func attach(events []event, thread int) (*counters, error) {
	cpu := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK, Bits: unix.PerfBitEnableOnExec}
	c := &counters{events: events}
	var err error
	if c.cpu, err = open("task-clock", cpu, thread); err != nil {
		return nil, err
	}
	for _, e := range events {
		if err := c.add(e, thread); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

func (c *counters) add(e event, thread int) error {
	id, err := e.id()
	if err != nil {
		return err
	}
	f, err := open(e.name, unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id}, thread)
	if err != nil {
		return err
	}
	c.files = append(c.files, f)
	if e.filter == "" {
		return nil
	}
	filter, err := unix.BytePtrFromString(e.filter)
	if err != nil {
		return fmt.Errorf("filter %s: %w", e.name, err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.PERF_EVENT_IOC_SET_FILTER, uintptr(unsafe.Pointer(filter))); errno != 0 {
		return fmt.Errorf("filter %s: %w", e.name, errno)
	}
	return nil
}

// open opens an event that stands still, for a thread and all that it starts.
func open(name string, attr unix.PerfEventAttr, thread int) (*os.File, error) {
	attr.Size = uint32(unsafe.Sizeof(attr))
	attr.Bits |= unix.PerfBitDisabled | unix.PerfBitInherit
	fd, err := unix.PerfEventOpen(&attr, thread, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("count %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// watch starts and stops the counters of events. The kernel does so in all threads and children that have inherited them.
func (c *counters) watch(on bool) error {
	request := uint(unix.PERF_EVENT_IOC_DISABLE)
	if on {
		request = unix.PERF_EVENT_IOC_ENABLE
	}
	for _, f := range c.files {
		if err := unix.IoctlSetInt(int(f.Fd()), request, 0); err != nil {
			return fmt.Errorf("switch %s: %w", f.Name(), err)
		}
	}
	return nil
}

// read reads all counters: the kernel adds those of threads and children, ended and living.
func (c *counters) read() (result.Usage, error) {
	cpu, err := read(c.cpu)
	if err != nil {
		return result.Usage{}, err
	}
	u := result.Usage{CPU: time.Duration(cpu)}
	for i, e := range c.events {
		n, err := read(c.files[i])
		if err != nil {
			return result.Usage{}, err
		}
		*e.into(&u) += n
	}
	return u, nil
}

func read(f *os.File) (uint64, error) {
	var b [8]byte
	if _, err := f.Read(b[:]); err != nil {
		return 0, fmt.Errorf("read counter %s: %w", f.Name(), err)
	}
	return binary.NativeEndian.Uint64(b[:]), nil
}

// close closes all counters; nil has none.
func (c *counters) close() {
	if c == nil {
		return
	}
	c.cpu.Close()
	for _, f := range c.files {
		f.Close()
	}
}
