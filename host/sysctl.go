package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Sysctl is a kernel setting and the value that it shall have. Names are written with dots, as sysctl(8) does.
type Sysctl struct {
	Name, Value string
	// Keep leaves the value in place for good: it is never recorded and never given back.
	Keep bool
}

// String is "net.ipv4.vs.conntrack=1".
func (s Sysctl) String() string { return s.Name + "=" + s.Value }

// WantedSysctls are the settings of IPVS that node ports need on a kernel of this release (uname -r); "" is a new one.
//
// net.ipv4.vs.conn_reuse_mode is for kernels before 5.9, as in kube-proxy: their 1 delays a client that reuses its port by a
// second (kubernetes/kubernetes#93297). Where it is 0, a client whose connection led to a departing real server is still
// sent elsewhere, since expire_nodest_conn is 1. From 5.9 on the kernel's own 1 is right. IPv6 forwarding is only checked
// (CheckForwarding): turning it on makes the kernel ignore router advertisements, which can cost the node its default route.
func WantedSysctls(release string) []Sysctl {
	wanted := []Sysctl{
		// Without connection tracking netfilter does not see IPVS connections, and nothing can be masqueraded.
		{Name: "net.ipv4.vs.conntrack", Value: "1"},
		// A connection whose real server was deleted ends at once instead of losing packets until it times out.
		{Name: "net.ipv4.vs.expire_nodest_conn", Value: "1"},
		// A client with session affinity does not wait for a real server that is going (weight 0).
		{Name: "net.ipv4.vs.expire_quiescent_template", Value: "1"},
	}
	if before59(release) {
		wanted = append(wanted, Sysctl{Name: "net.ipv4.vs.conn_reuse_mode", Value: "0"})
	}
	return wanted
}

// before59 reports that a release is older than Linux 5.9; one that cannot be read is not.
func before59(release string) bool {
	major, minor, ok := parseRelease(release)
	return ok && (major < 5 || major == 5 && minor < 9)
}

func parseRelease(release string) (major, minor int, ok bool) {
	_, err := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return major, minor, err == nil
}

// KernelRelease is that of the running kernel (uname -r), "" if it does not say.
func KernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// ForwardIPv4 is what a node that serves IPv4 addresses needs besides. It is turned on and never off: pods need it too,
// whoever turned it on first.
func ForwardIPv4() Sysctl { return Sysctl{Name: "net.ipv4.ip_forward", Value: "1", Keep: true} }

// Sysctls sets kernel settings and remembers what they were. Settings below net belong to the network namespace of the
// calling thread. Each namespace needs a state directory of its own. The zero value is for the real kernel.
type Sysctls struct {
	// Root is where sysctls are files (default /proc/sys).
	Root string
	// StateDir holds the record of the values found (default /run/kube-ipvs). It should survive a restart of the
	// agent; a record from before the last boot of the node is ignored.
	StateDir string
}

const (
	defaultRoot     = "/proc/sys"
	defaultStateDir = "/run/kube-ipvs"
	bootID          = "kernel.random.boot_id"
)

// ErrNoSysctl is that of a setting that the kernel has not, or not as long as a module is not loaded. It is fs.ErrNotExist too.
var ErrNoSysctl = errors.New("the kernel has no such setting")

// Set writes the settings that differ and returns how many those were: none after a restart. A value is recorded before
// its first change, so that a crash in between loses nothing; one that cannot be recorded is not changed. A setting that
// fails does not stop the others, and the error joins all failures. errors.Is(err, ErrNoSysctl) means that the kernel
// has no such setting: for net.ipv4.vs, module ip_vs is not loaded.
func (s Sysctls) Set(ctx context.Context, wanted []Sysctl) (changed int, err error) {
	record, err := s.load()
	if err != nil {
		return 0, err
	}
	var errs []error
	var different []Sysctl
	for _, w := range wanted {
		found, err := s.read(w.Name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if found == normalise(w.Value) {
			continue
		}
		different = append(different, w)
		if !w.Keep {
			record.note(w, found)
		}
	}
	if len(different) > 0 {
		if err := s.store(record); err != nil {
			return 0, errors.Join(append(errs, err)...)
		}
	}
	for _, w := range different {
		if ctx.Err() != nil {
			return changed, errors.Join(append(errs, ctx.Err())...)
		}
		if err := s.write(w.Name, w.Value); err != nil {
			errs = append(errs, err)
			continue
		}
		changed++
	}
	return changed, errors.Join(errs...)
}

// Restoration says what became of one setting that Set had changed.
type Restoration struct {
	Name     string
	Restored bool
	// Reason is for people: "1 → 0" if restored, else why the value was left.
	Reason string
}

// Restore gives back the values from before Set, of those settings that are still as Set left them: another value was
// somebody else's decision. It reports each recorded setting, in the order of their names. What failed stays recorded;
// the rest of the record is removed. Without a record there is nothing to do.
func (s Sysctls) Restore(ctx context.Context) ([]Restoration, error) {
	record, err := s.load()
	if err != nil {
		return nil, err
	}
	var done []Restoration
	var errs []error
	for _, name := range record.names() {
		if ctx.Err() != nil {
			errs = append(errs, ctx.Err())
			break
		}
		r, err := s.restore(name, record.Values[name])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		done = append(done, r)
		delete(record.Values, name)
	}
	if len(record.Values) == 0 {
		return done, errors.Join(append(errs, s.forget())...)
	}
	return done, errors.Join(append(errs, s.store(record))...)
}

func (s Sysctls) restore(name string, v recorded) (Restoration, error) {
	now, err := s.read(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Restoration{Name: name, Reason: "the kernel has it no more"}, nil
	case err != nil:
		return Restoration{}, err
	case now == v.Before:
		return Restoration{Name: name, Reason: fmt.Sprintf("it is %s already, as before", now)}, nil
	case now != v.Set:
		return Restoration{Name: name, Reason: fmt.Sprintf("it is %s, which is neither ours (%s) nor what it was (%s)",
			now, v.Set, v.Before)}, nil
	}
	if err := s.write(name, v.Before); err != nil {
		return Restoration{}, err
	}
	return Restoration{Name: name, Restored: true, Reason: v.Set + " → " + v.Before}, nil
}

// path of a sysctl. A dot in the name of an interface is written as a slash, as sysctl(8) has it.
func (s Sysctls) path(name string) string {
	return filepath.Join(orDefault(s.Root, defaultRoot), sysctlFile(name))
}

// sysctlFile is the path of a sysctl below /proc/sys.
func sysctlFile(name string) string {
	return strings.NewReplacer(".", "/", "/", ".").Replace(name)
}

func (s Sysctls) read(name string) (string, error) {
	text, err := os.ReadFile(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("sysctl %s: %w: %w", name, ErrNoSysctl, err)
	}
	if err != nil {
		return "", fmt.Errorf("sysctl %s: %w", name, err)
	}
	return normalise(string(text)), nil
}

func (s Sysctls) write(name, value string) error {
	file, err := os.OpenFile(s.path(name), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return fmt.Errorf("sysctl %s=%s: %w", name, value, err)
	}
	_, err = file.WriteString(value)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("sysctl %s=%s: %w", name, value, err)
	}
	return nil
}

// normalise makes values comparable: the kernel ends them in a newline and separates several by a tab.
func normalise(value string) string { return strings.Join(strings.Fields(value), " ") }

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

// names of the recorded settings, sorted.
func (r sysctlRecord) names() []string {
	names := make([]string, 0, len(r.Values))
	for n := range r.Values {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
