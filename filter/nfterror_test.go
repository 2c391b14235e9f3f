package filter

import (
	"context"
	"errors"
	"testing"
)

func TestErrorsOfNftAreOneLine(t *testing.T) {
	alive := context.Background()
	ended, cancel := context.WithCancel(alive)
	cancel()
	late, cancel := context.WithTimeout(alive, 0)
	defer cancel()
	tests := []struct {
		name string
		ctx  context.Context
		text string
		want string
	}{
		{"one line", alive, "no such table\n", "no such table"},
		{
			"one command", alive, "/dev/stdin:1:1-9: Error: No such file\nadd element x\n^^^^^^^^^\n",
			"/dev/stdin:1:1-9: Error: No such file in: add element x",
		},
		{
			"two commands", alive, "/dev/stdin:1:1-9: Error: No such file\nadd element x\n^^^^^^^^^\nError: again\nadd element y\n^^^\n",
			"/dev/stdin:1:1-9: Error: No such file in: add element x (and more)",
		},
		{"killed at the end", ended, "signal: killed", "context canceled"},
		{"killed for its time", late, "signal: killed", "nft had not ended in time, and was killed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cause := errors.New(test.text)
			err := newNftError(test.ctx, cause)
			if err.Error() != test.want {
				t.Errorf("error %q, want %q", err, test.want)
			}
			is := func(target error) bool { return errors.Is(err, target) == errors.Is(test.ctx.Err(), target) }
			if !errors.Is(err, cause) || !is(context.Canceled) || !is(context.DeadlineExceeded) {
				t.Errorf("%v does not wrap what it stands for", err)
			}
		})
	}
}
