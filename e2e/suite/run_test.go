package suite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sigs.k8s.io/e2e-framework/pkg/env"
)

// envTidied makes the test below the one that is interrupted, and names the file that it writes when it has tidied up.
const envTidied = "SUITE_TEST_TIDIED"

func TestASuiteThatIsInterruptedTidiesUpAlsoWhenNobodyListens(t *testing.T) {
	if file := os.Getenv(envTidied); file != "" {
		s := &Suite{Environment: env.New()}
		s.Main(nil, func(ctx context.Context) (Provider, error) {
			fmt.Println("ready")
			<-ctx.Done()
			fmt.Println("interrupted")
			return nil, errors.Join(ctx.Err(), os.WriteFile(file, nil, 0o600))
		})
		return
	}
	file := filepath.Join(t.TempDir(), "tidied")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), envTidied+"="+file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "ready"; {
	}
	out.Close() // as the end of go test does
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // how it ends is not the question
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}
