package filter

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"

	"sigs.k8s.io/knftables"
)

// writer carries out transactions.
type writer interface {
	NewTransaction() *knftables.Transaction
	Run(ctx context.Context, tx *knftables.Transaction) error
}

// program carries them out with nft, one run for each. knftables would run it twice more before the first one, to ask for
// its version and whether it takes comments, which nft 1.0.1 does, the oldest that this works with.
type program struct {
	// transactions makes them: what knftables has for tests runs nothing of its own.
	transactions *knftables.Fake
}

func newProgram() program { return program{transactions: knftables.NewFake(Family, Name)} }

func (p program) NewTransaction() *knftables.Transaction { return p.transactions.NewTransaction() }

func (p program) Run(ctx context.Context, tx *knftables.Transaction) error {
	text, err := script(tx)
	if err != nil {
		return err
	}
	_, err = run(ctx, text, "-f", "-")
	return err
}

// run runs nft. What it prints to complain is the error.
func run(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "nft", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if _, exited := errors.AsType[*exec.ExitError](err); exited && complaint.Len() > 0 {
		return nil, errors.New(complaint.String())
	}
	return out, err
}

// elementsAtOnce is how many elements stand in one command. 10,800 elements, natively on Linux 6.18: 95 ms one to a command,
// 65 ms ten to a command, 62 ms a hundred, and no less with more.
const elementsAtOnce = 200

// script is a transaction as nft reads it: neighbouring elements of a set in one command, each on its own line, which is
// the one that nft names if it fails.
func script(tx *knftables.Transaction) ([]byte, error) {
	commands := tx.String()
	if _, reason, broken := strings.Cut("\n"+commands, "\n# ERROR: "); broken {
		return nil, errors.New(reason)
	}
	var text bytes.Buffer
	text.Grow(len(commands))
	open, elements := "", 0 // the command that has not ended yet, and how many elements it has
	end := func() {
		if open != "" {
			text.WriteString(" }\n")
		}
		open, elements = "", 0
	}
	for line := range strings.Lines(commands) {
		command, element := splitElement(line)
		switch {
		case command == "":
			end()
			text.WriteString(line)
		case command == open && elements < elementsAtOnce:
			text.WriteString(",\n")
			text.WriteString(element)
			elements++
		default:
			end()
			text.WriteString(command)
			text.WriteString(element)
			open, elements = command, 1
		}
	}
	end()
	return text.Bytes(), nil
}

// splitElement takes "add element inet TABLE SET { ELEMENT }" apart; command is empty for what is no such line.
func splitElement(line string) (command, element string) {
	if !strings.HasPrefix(line, "add element ") && !strings.HasPrefix(line, "delete element ") {
		return "", ""
	}
	brace := strings.Index(line, "{ ")
	rest, ends := strings.CutSuffix(line, " }\n")
	if brace < 0 || !ends {
		return "", ""
	}
	return line[:brace+2], rest[brace+2:]
}
