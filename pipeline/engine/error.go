package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

// Kind tells errors of the engine apart, for a caller that treats one of them
// specially. The text is for people and may change.
type Kind string

// The kinds of [Error].
const (
	NoProgram        Kind = "no-program"        // scopedrift-engine was not found
	NoLibrary        Kind = "no-library"        // libchdb was not found
	WrongProgram     Kind = "wrong-program"     // the engine program cannot run on this machine
	WrongLibrary     Kind = "wrong-library"     // the file is no libchdb, or one for another machine
	ForeignDirectory Kind = "foreign-directory" // the data directory holds something else
	NewerStore       Kind = "newer-store"       // a later scopedrift made the data directory
	DirectoryInUse   Kind = "directory-in-use"  // another engine owns the data directory
	NoPermission     Kind = "no-permission"     // a file or directory may not be read or written
	DiskFull         Kind = "disk-full"         // no space left
	StartFailed      Kind = "start-failed"      // the engine refused to start for another reason
	Died             Kind = "died"              // the engine ended although nobody asked it to
)

// Error is a failure of the engine: a sentence, and what to do about it.
type Error struct {
	Kind Kind `json:"kind"`
	// Text is the sentence, lower case, without a stop.
	Text string `json:"text"`
	// Remedy is what to do about it.
	Remedy string `json:"remedy"`
	// Err is the cause, if it is more than Text says.
	Err error `json:"-"`
}

// Error returns the sentence.
func (e *Error) Error() string { return e.Text }

// Hint returns the remedy.
func (e *Error) Hint() string { return e.Remedy }

// ExitCode is the exit code of a command that fails with this error.
func (e *Error) ExitCode() int { return 1 }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// IsKind reports whether err is an [*Error] of that kind.
func IsKind(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}

// withoutEngine is the way out where no engine can run.
const withoutEngine = "or use a server with --clickhouse URL"

// fileError makes an Error of a failed operation on a file of the store.
func fileError(doing, path string, err error) *Error {
	e := &Error{Kind: StartFailed, Text: fmt.Sprintf("cannot %s %s: %v", doing, path, reason(err)), Err: err,
		Remedy: "choose another data directory"}
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		e.Kind = NoPermission
		e.Remedy = "give this user the right to write there, or choose another data directory"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Kind = DiskFull
		e.Remedy = "free some space, or choose a data directory on another disk"
	}
	return e
}

// reason is an error without the operation and path that it repeats.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// ParseFailure makes an [Error] of the text with which ClickHouse refused to
// open a data directory.
func ParseFailure(dir, text string) *Error {
	low := strings.ToLower(text)
	e := &Error{Kind: StartFailed, Text: fmt.Sprintf("the engine cannot open %s: %s", dir, firstLine(text)),
		Remedy: "if the directory was damaged, move it away and read the logs again " + withoutEngine}
	switch {
	case strings.Contains(low, "cannot lock file") || strings.Contains(low, "another server instance"):
		e.Kind, e.Remedy = DirectoryInUse, "wait until the other command has ended, or choose another data directory"
	case strings.Contains(low, "permission denied") || strings.Contains(low, "read-only file system"):
		e.Kind, e.Remedy = NoPermission, "give this user the right to write there, or choose another data directory"
	case strings.Contains(low, "no space left") || strings.Contains(low, "not_enough_space"):
		e.Kind, e.Remedy = DiskFull, "free some space, or choose a data directory on another disk"
	}
	return e
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	if len(line) > 400 {
		line = line[:400] + "…"
	}
	return line
}
