package count

import "testing"

func TestMemoryIsReadFromStatus(t *testing.T) {
	now, peak, err := readMemory("Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t    20 kB\nVmRSS:\t    10 kB\nThreads:\t1\n")
	if now != 10<<10 || peak != 20<<10 || err != nil {
		t.Errorf("%d %d %v", now, peak, err)
	}
}

func TestAProcessWithoutMemoryIsAnError(t *testing.T) {
	for _, status := range []string{"", "Name:\tx\nVmRSS:\t1 kB\n", "Name:\tx\nVmRSS:\t1 MB\nVmHWM:\t1 kB\n", "Name:\tx\nVmRSS:\tx kB\nVmHWM:\t1 kB\n"} {
		if _, _, err := readMemory(status); err == nil {
			t.Errorf("no error for %q", status)
		}
	}
}
