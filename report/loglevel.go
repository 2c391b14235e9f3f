package report

import (
	"fmt"
	"io"
)

// LogLevel is the level that the running agent logs at.
type LogLevel struct {
	Level int `json:"level"`
}

// Table is the number alone.
func (l LogLevel) Table(w io.Writer, _ bool) error {
	_, err := fmt.Fprintln(w, l.Level)
	return err
}
