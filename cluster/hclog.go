package cluster

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger hands raft's lines to slog. What is not overridden (standard
// loggers, levels) raft does not use.
type raftLogger struct {
	hclog.Logger
	to *slog.Logger
}

func newRaftLogger(to *slog.Logger) hclog.Logger {
	return raftLogger{Logger: hclog.NewNullLogger(), to: to}
}

func (l raftLogger) Log(level hclog.Level, msg string, args ...any) {
	l.to.Log(context.Background(), slogLevel(level), msg, plain(args)...)
}

func (l raftLogger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l raftLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l raftLogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l raftLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l raftLogger) IsTrace() bool { return l.is(hclog.Trace) }
func (l raftLogger) IsDebug() bool { return l.is(hclog.Debug) }
func (l raftLogger) IsInfo() bool  { return l.is(hclog.Info) }
func (l raftLogger) IsWarn() bool  { return l.is(hclog.Warn) }
func (l raftLogger) IsError() bool { return l.is(hclog.Error) }

func (l raftLogger) is(level hclog.Level) bool {
	return l.to.Enabled(context.Background(), slogLevel(level))
}

func (l raftLogger) With(args ...any) hclog.Logger {
	return raftLogger{Logger: l.Logger, to: l.to.With(plain(args)...)}
}

func (l raftLogger) Named(name string) hclog.Logger {
	return raftLogger{Logger: l.Logger, to: l.to.With("part", name)}
}

func (l raftLogger) ResetNamed(name string) hclog.Logger { return l.Named(name) }

func slogLevel(level hclog.Level) slog.Level {
	switch level {
	case hclog.Trace:
		return slog.LevelDebug - 4
	case hclog.Debug:
		return slog.LevelDebug
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

// plain renders hclog's own value types, which slog would print as structs.
func plain(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			format, _ := f[0].(string)
			a = fmt.Sprintf(format, f[1:]...)
		}
		out[i] = a
	}
	return out
}
