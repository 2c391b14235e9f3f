package count

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory is the resident set of the program itself, now and at its greatest, in bytes.
func (p *Process) Memory() (now, peak int64, err error) {
	file := fmt.Sprintf("/proc/%d/status", p.PID())
	status, err := os.ReadFile(file)
	if err != nil {
		return 0, 0, fmt.Errorf("memory of %s: %w", p.cmd.Args[1], err)
	}
	now, peak, err = readMemory(string(status))
	if err != nil {
		return 0, 0, fmt.Errorf("memory of %s: %s: %w", p.cmd.Args[1], file, err)
	}
	return now, peak, nil
}

// readMemory reads what proc(5) calls VmRSS and VmHWM. A process that has ended, and waits for its parent, has neither.
func readMemory(status string) (now, peak int64, err error) {
	for name, to := range map[string]*int64{"VmRSS:": &now, "VmHWM:": &peak} {
		_, rest, found := strings.Cut(status, "\n"+name)
		fields := strings.Fields(rest)
		if !found || len(fields) < 2 || fields[1] != "kB" {
			return 0, 0, fmt.Errorf("no %s in kB", name)
		}
		kib, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("%s %w", name, err)
		}
		*to = kib << 10
	}
	return now, peak, nil
}
