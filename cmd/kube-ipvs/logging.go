package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	stdsync "sync"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// The formats of the log, with kube-proxy's names.
const (
	logText = "text"
	logJSON = "json"
)

// loggingOptions are the flags of the log.
type loggingOptions struct {
	verbosity int
	vmodule   string
	format    string
}

func (o *loggingOptions) add(flags *pflag.FlagSet) {
	flags.IntVarP(&o.verbosity, "v", "v", 0, "log `level`: 4 shows every operation; kube-ipvs log-level changes it while the agent runs")
	flags.StringVar(&o.vmodule, "vmodule", "", "`list` of PATTERN=LEVEL: log levels of source files whose names, without .go, match, for example reconcile=4,watch*=2; with --logging-format=text only")
	flags.StringVar(&o.format, "logging-format", logText, "`format` of the log: text (klog's) or json (one object a line, with the keys of Kubernetes' JSON logs)")
}

// validate says what is wrong with them.
func (o *loggingOptions) validate() []error {
	var errs []error
	if err := checkLevel(o.verbosity); err != nil {
		errs = append(errs, fmt.Errorf("-v: %w", err))
	}
	if o.format != logText && o.format != logJSON {
		errs = append(errs, fmt.Errorf("--logging-format: %q: write %s or %s", o.format, logText, logJSON))
	}
	if err := textlogger.NewConfig().VModule().Set(o.vmodule); err != nil {
		errs = append(errs, fmt.Errorf("--vmodule: %w: write for example reconcile=4,watch*=2", err))
	}
	if o.vmodule != "" && o.format == logJSON {
		errs = append(errs, errors.New("--vmodule is for --logging-format=text: leave one of the two out"))
	}
	return errs
}

// maxLevel is far above what anything logs at.
const maxLevel = 100

func checkLevel(level int) error {
	if level < 0 || level > maxLevel {
		return fmt.Errorf("log level %d is not one of 0 to %d", level, maxLevel)
	}
	return nil
}

// logging is the agent's log, whose level can be changed while it is written.
type logging struct {
	logger logr.Logger

	mu       stdsync.Mutex
	level    int
	setLevel func(int)
}

// newLogging begins a log on w, to which client-go's own lines are sent too.
func newLogging(w io.Writer, o loggingOptions) (*logging, error) {
	l := &logging{level: o.verbosity}
	switch o.format {
	case logJSON:
		l.logger, l.setLevel = jsonLogger(printableWriter{w, sync.PrintableJSON})
	default:
		config := textlogger.NewConfig(textlogger.Output(printableWriter{w, printableEntry}))
		if err := config.VModule().Set(o.vmodule); err != nil {
			return nil, fmt.Errorf("--vmodule: %w", err)
		}
		l.logger = textlogger.NewLogger(config)
		l.setLevel = func(level int) { _ = config.Verbosity().Set(strconv.Itoa(level)) } // a number is a level
	}
	klog.SetLoggerWithOptions(l.logger, klog.ContextualLogger(true))
	l.apply(l.level)
	return l, nil
}

// Level is the one in force.
func (l *logging) Level() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.level
}

// SetLevel puts another one in force, and says so in the log.
func (l *logging) SetLevel(level int) error {
	if err := checkLevel(level); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if was := l.level; was != level {
		l.apply(level)
		l.level = level
		l.logger.Info("The log level changed", "from", was, "to", level)
	}
	return nil
}

// apply sets the level of the log, and of klog, which decides by its own about the lines of client-go that are not
// contextual.
func (l *logging) apply(level int) {
	l.setLevel(level)
	_ = new(klog.Level).Set(strconv.Itoa(level)) // a number is a level
}

// printableWriter is a log that terminals may be shown: klog writes values of several lines as they are, and JSON may have
// characters that no encoder escapes. Each Write is one entry.
type printableWriter struct {
	io.Writer
	printable func([]byte) []byte
}

// Write is that of io.Writer.
func (w printableWriter) Write(entry []byte) (int, error) {
	if _, err := w.Writer.Write(w.printable(entry)); err != nil {
		return 0, err
	}
	return len(entry), nil
}

// printableEntry keeps the lines of an entry and what indents them.
func printableEntry(entry []byte) []byte {
	var b strings.Builder
	for line := range strings.Lines(string(entry)) {
		text, ended := strings.CutSuffix(line, "\n")
		for i, cell := range strings.Split(text, "\t") {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(sync.Printable(cell))
		}
		if ended {
			b.WriteByte('\n')
		}
	}
	return []byte(b.String())
}
