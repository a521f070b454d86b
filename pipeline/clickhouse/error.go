package clickhouse

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	ch "github.com/ClickHouse/clickhouse-go/v2"
)

// Kind tells errors of ClickHouse apart, for a caller that treats one of them
// specially. The text is for people and may change.
type Kind string

// The kinds of [Error].
const (
	WrongTarget Kind = "wrong-target" // the target cannot be understood
	Unreachable Kind = "unreachable"  // nobody answers there
	Refused     Kind = "refused"      // wrong user, password, or right
	Broken      Kind = "broken"       // the connection ended in the middle
	Memory      Kind = "memory"       // the memory bound was reached
	DiskFull    Kind = "disk-full"    // no space left
	Timeout     Kind = "timeout"      // a time limit was reached
	Missing     Kind = "missing"      // a table, column or database is not there
	Failed      Kind = "failed"       // anything else that ClickHouse said
)

// Error is a failure of ClickHouse: a sentence, and what to do about it.
type Error struct {
	Kind Kind
	// Text is the sentence, lower case, without a stop.
	Text string
	// Remedy is what to do about it.
	Remedy string
	// Code is ClickHouse's number, 0 if the failure is not its own.
	Code int
	// Err is the cause.
	Err error
}

// Error returns the sentence.
func (e *Error) Error() string { return e.Text }

// Hint returns the remedy.
func (e *Error) Hint() string { return e.Remedy }

// ExitCode is the exit code of a command that fails with this error.
func (e *Error) ExitCode() int {
	if e.Kind == WrongTarget {
		return 2
	}
	return 1
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// IsKind reports whether err is an [*Error] of that kind.
func IsKind(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}

// kinds are ClickHouse's codes that have a remedy of their own.
var kinds = map[int32]struct {
	kind   Kind
	remedy string
}{
	241: {Memory, "give ClickHouse more memory (--memory for the embedded engine), or ask about a shorter time"},
	243: {DiskFull, "free some space, or choose a data directory on another disk"},
	159: {Timeout, "ask about a shorter time, or raise max_execution_time"},
	60:  {Missing, "create the tables with scopedrift schema migrate"},
	81:  {Missing, "create the tables with scopedrift schema migrate"},
	16:  {Missing, "bring the tables up to date with scopedrift schema migrate"},
	47:  {Missing, "bring the tables up to date with scopedrift schema migrate"},
	192: {Refused, "check the user of the ClickHouse URL"},
	193: {Refused, "check the password of the ClickHouse URL"},
	194: {Refused, "give the password of the ClickHouse URL"},
	516: {Refused, "check user and password of the ClickHouse URL"},
	497: {Refused, "grant the user of the ClickHouse URL the right that is named"},
	164: {Refused, "use a ClickHouse user that may write"},
	252: {Failed, "wait until ClickHouse has merged its parts, and insert larger batches"},
}

// Explain turns what a statement failed with into an [*Error]. It returns nil
// for nil, and the error of a context that ended as it is.
func Explain(err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var ex *ch.Exception
	if errors.As(err, &ex) {
		return explainException(ex, err)
	}
	if e := explainTransport(err); e != nil {
		return e
	}
	return &Error{Kind: Failed, Text: "ClickHouse: " + oneLine(err.Error()), Err: err,
		Remedy: "run the command again; if it fails again, this is worth a report"}
}

func explainException(ex *ch.Exception, err error) *Error {
	e := &Error{Kind: Failed, Code: int(ex.Code), Err: err,
		Text:   fmt.Sprintf("ClickHouse refused a statement: %s (code %d)", oneLine(ex.Message), ex.Code),
		Remedy: "this is worth a report, with the ClickHouse version"}
	low := strings.ToLower(ex.Message)
	if k, ok := kinds[ex.Code]; ok {
		e.Kind, e.Remedy = k.kind, k.remedy
	} else if strings.Contains(low, "no space left on device") || strings.Contains(low, "disk quota exceeded") {
		e.Kind, e.Remedy = DiskFull, kinds[243].remedy
	}
	switch e.Kind {
	case Memory:
		e.Text = fmt.Sprintf("ClickHouse reached its memory limit: %s", oneLine(ex.Message))
	case DiskFull:
		e.Text = fmt.Sprintf("the disk of ClickHouse is full: %s", oneLine(ex.Message))
	}
	return e
}

// explainTransport knows failures of the connection; nil if it is none.
func explainTransport(err error) *Error {
	var netErr net.Error
	var op *net.OpError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return &Error{Kind: Unreachable, Text: "nobody listens where ClickHouse should be", Err: err,
			Remedy: "see whether it still runs: the embedded engine, or the server of --clickhouse"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return &Error{Kind: Broken, Text: "the connection to ClickHouse broke in the middle of a statement", Err: err,
			Remedy: "run the command again; if it was the embedded engine, see why it ended"}
	case errors.As(err, &netErr) && netErr.Timeout():
		return &Error{Kind: Timeout, Text: "ClickHouse did not answer in time", Err: err,
			Remedy: "see whether it is overloaded, and run the command again"}
	case errors.As(err, &op):
		return &Error{Kind: Unreachable, Text: fmt.Sprintf("cannot reach ClickHouse: %v", op.Err), Err: err,
			Remedy: "check host and port of the ClickHouse URL"}
	}
	return nil
}

// unreachable explains why the first answer did not come.
func (t Target) unreachable(err error, password string) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	e := &Error{Kind: Unreachable, Err: errors.New(scrub(err, password))}
	var known *Error
	switch {
	case errors.As(err, &unknown), errors.As(err, &host):
		e.Text = fmt.Sprintf("%s shows a certificate that is not trusted", t)
		e.Remedy = "use the name in its certificate, or add its authority to the system's (SSL_CERT_FILE)"
	case errors.Is(err, context.DeadlineExceeded):
		e.Text = fmt.Sprintf("%s did not answer within %v", t, pingTimeout)
		e.Remedy = "see whether it still runs"
		e.Kind = Timeout
	case errors.As(Explain(err), &known):
		e.Kind, e.Code = known.Kind, known.Code
		e.Text = fmt.Sprintf("%s: %s", t, scrub(known, password))
		e.Remedy = known.Remedy
	}
	if (e.Kind == Failed || e.Kind == Timeout || e.Kind == Broken) && t.URL != "" {
		e.Remedy = "check host, port and protocol: clickhouse:// is usually port 9000, http:// 8123, https:// 8443"
	}
	return e
}

// oneLine shortens a text of ClickHouse for a message.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if i := strings.Index(s, " (version "); i > 0 {
		s = s[:i]
	}
	if len(s) > 500 {
		s = s[:500] + "…"
	}
	return s
}
