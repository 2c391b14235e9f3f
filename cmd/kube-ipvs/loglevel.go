package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// levelPath is where the agent's socket tells the log level and takes another one.
const levelPath = "/log-level"

// levelHandler answers GET /log-level and PUT /log-level, each with the level in force.
func levelHandler(l *logging) http.Handler {
	answer := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(report.LogLevel{Level: l.Level()}) // the client is gone: nobody is left to tell
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+levelPath, func(w http.ResponseWriter, _ *http.Request) { answer(w) })
	mux.HandleFunc("PUT "+levelPath, func(w http.ResponseWriter, request *http.Request) {
		var want struct {
			Level *int `json:"level"`
		}
		err := json.NewDecoder(http.MaxBytesReader(w, request.Body, 1<<10)).Decode(&want)
		switch {
		case err != nil:
			err = fmt.Errorf("read the log level: %w", err)
		case want.Level == nil:
			err = errors.New("there is no log level in it")
		default:
			err = l.SetLevel(*want.Level)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(w)
	})
	return mux
}

func newLogLevel() *cobra.Command {
	var output, socket string
	agent := newGroup("Agent")
	agent.flags.StringVar(&socket, "agent-socket", socketName, "`name` of the socket on which the agent answers")
	_ = agent.flags.MarkHidden("agent-socket") // it is there: for tests, which have an agent of their own each
	cmd := &cobra.Command{
		Use:   "log-level [LEVEL] [flags]",
		Short: "Show or set the log level of the agent that runs on this node",
		Long: fmt.Sprintf(`Show the log level of the agent that runs on this node, or set it: 0 is quiet, 4 shows every
operation, %d is the highest. The agent keeps it until it ends; the next one begins with its flag -v.`, maxLevel),
		Example: `  kube-ipvs log-level
  kube-ipvs log-level 4`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := report.ParseFormat(output)
			if err != nil {
				return err
			}
			var answer report.LogLevel
			if len(args) == 0 {
				err = callAgent(cmd.Context(), socket, http.MethodGet, levelPath, nil, &answer)
			} else {
				answer, err = setLogLevel(cmd.Context(), socket, args[0])
			}
			if err != nil {
				return err
			}
			return report.Write(cmd.OutOrStdout(), format, answer)
		},
	}
	addGroups(cmd, agent, outputGroup(&output))
	return cmd
}

func setLogLevel(ctx context.Context, socket, text string) (report.LogLevel, error) {
	level, err := strconv.Atoi(text)
	if err == nil {
		err = checkLevel(level)
	}
	if err != nil {
		return report.LogLevel{}, fmt.Errorf("%q is no log level: write a number from 0 to %d", text, maxLevel)
	}
	var answer report.LogLevel
	err = callAgent(ctx, socket, http.MethodPut, levelPath, report.LogLevel{Level: level}, &answer)
	return answer, err
}
