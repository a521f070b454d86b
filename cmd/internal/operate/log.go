package operate

import (
	"io"
	"time"

	"github.com/rs/zerolog"
)

// Log is where a long-running command says what it does, a line of JSON each.
type Log = zerolog.Logger

// NewLog returns a log that writes JSON lines to w: time (RFC 3339, UTC), level,
// the command's name as "part", and the message. quiet keeps warnings and errors
// only. Values are escaped by JSON, so that an observed string cannot forge a line.
func NewLog(w io.Writer, part string, quiet bool) Log {
	level := zerolog.InfoLevel
	if quiet {
		level = zerolog.WarnLevel
	}
	return zerolog.New(w).Level(level).Hook(stamp{}).With().Str("part", part).Logger()
}

// stamp adds the time in UTC, whatever the machine's zone is: zerolog's own hook
// would want a variable of the whole process to be changed.
type stamp struct{}

// Run adds the time to a line.
func (stamp) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format("2006-01-02T15:04:05.000Z"))
}
