package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

const (
	// maxReservedText is more than the kernel can print: 32,768 ports that are not neighbours take 186 KiB.
	maxReservedText = 256 << 10
	// maxReservedWrite is what one write may have. The kernel reads no more than a page less one byte of it: it takes the
	// rest as not written (measured on Linux 6.18), or says that all was and loses it (read in Linux 4.x).
	maxReservedWrite = 4095
)

// reservedValue is the value of the sysctl as it was read.
type reservedValue struct {
	ports portSet
	size  int64 // of the text
}

// readReserved reads the value in one piece: a second read(2) of this file finds its end, wherever the first one ended
// (os.ReadFile, which begins with 512 bytes, loses what comes after them).
func readReserved(path string) (v reservedValue, err error) {
	file, err := os.Open(path)
	if err != nil {
		return v, fmt.Errorf("sysctl %s: %w", reservedPorts, err)
	}
	defer func() { _ = file.Close() }() // nothing was written
	text := make([]byte, maxReservedText)
	n, err := file.Read(text)
	if err == nil && n == len(text) {
		err = fmt.Errorf("its value is longer than %d bytes", n-1)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return v, fmt.Errorf("sysctl %s: %w", reservedPorts, err)
	}
	if err := v.ports.UnmarshalText(text[:n]); err != nil {
		return v, fmt.Errorf("sysctl %s: %w", reservedPorts, err)
	}
	v.size = int64(n)
	return v, nil
}

// add adds ports to what is in the file by now. The kernel adds what is written anywhere but at the beginning.
func (v reservedValue) add(file *os.File, ports *portSet) error {
	offset := max(v.size, 1)
	for _, text := range ports.texts(maxReservedWrite) {
		n, err := file.WriteAt([]byte(text), offset)
		if err != nil {
			return err
		}
		offset += int64(n)
	}
	return nil
}

// replaceReserved makes the value those of others and ours. What is written at the beginning replaces the value, what
// follows is added. Where the whole does not fit in one write, that of others comes first: a crash loses none of
// theirs, unless they are too many themselves.
func replaceReserved(file *os.File, others, ours *portSet) error {
	texts := others.union(ours).texts(maxReservedWrite)
	if len(texts) > 1 {
		texts = slices.DeleteFunc(slices.Concat(others.texts(maxReservedWrite), ours.texts(maxReservedWrite)),
			func(text string) bool { return strings.TrimSpace(text) == "" })
	}
	if err := file.Truncate(0); err != nil { // nothing for a sysctl, but a plain file in its place needs it
		return err
	}
	for _, text := range texts {
		if _, err := file.WriteString(text); err != nil {
			return err
		}
	}
	return nil
}
