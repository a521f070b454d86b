package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	kafka "github.com/segmentio/kafka-go"
)

// Kind tells errors of Kafka apart, for a caller that treats one of them
// specially. The text is for people and may change.
type Kind string

// The kinds of [Error].
const (
	WrongConfig  Kind = "wrong-config" // the configuration cannot be used
	Unreachable  Kind = "unreachable"  // nobody answers there
	Certificate  Kind = "certificate"  // one side does not accept the other's certificate
	Transport    Kind = "transport"    // TLS here and plain text there, or the reverse
	Password     Kind = "password"     // wrong user, password or mechanism
	NoRights     Kind = "no-rights"    // the user may not do that
	NoTopic      Kind = "no-topic"     // the topic is not there
	WrongTopic   Kind = "wrong-topic"  // the topic is not as it has to be
	Interrupted  Kind = "interrupted"  // the broker went away, or is not ready yet
	Unexpected   Kind = "unexpected"   // anything else that the broker said
	OutOfReplica Kind = "too-few-replicas"
)

// Error is a failure of Kafka: a sentence, and what to do about it.
type Error struct {
	Kind Kind
	// Text is the sentence, lower case, without a stop.
	Text string
	// Remedy is what to do about it.
	Remedy string
	// Err is the cause.
	Err error
}

// Error returns the sentence.
func (e *Error) Error() string { return e.Text }

// Hint returns the remedy.
func (e *Error) Hint() string { return e.Remedy }

// ExitCode is the exit code of a command that fails with this error.
func (e *Error) ExitCode() int {
	switch e.Kind {
	case WrongConfig:
		return 2
	}
	return 1
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Definite reports whether trying again is of no use until somebody changes
// something: a password, a right, a topic.
func (e *Error) Definite() bool {
	switch e.Kind {
	case WrongConfig, Certificate, Transport, Password, NoRights, NoTopic, WrongTopic:
		return true
	}
	return false
}

// definite reports whether an error is one that trying again does not heal.
func definite(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Definite()
}

// ErrFenced is what a lane's commit returns when the partition is, or may be,
// another member's by now. Nothing may be inserted for a plan that was refused so.
var ErrFenced = errors.New("the group has a new generation: this partition is no longer this member's")

// ErrOutOfRange is what reading returns for an offset that the partition does not
// hold: retention took it, or somebody reset the offset. [Lane.Bounds] says what
// there is.
var ErrOutOfRange = errors.New("the partition does not hold that offset")

// ErrStop ends a fetch early, after the message that it was returned for.
var ErrStop = errors.New("stop")

// deed is what was being done, for the sentence.
type deed struct {
	// verb is such as "write to"; object the topic, group or broker.
	verb, object string
	user         string
}

// explain turns an error of the library below into an [Error]. It leaves alone
// what is one already, and the end of a context.
func explain(err error, d deed) error {
	var done *Error
	if errors.As(err, &done) {
		return done // without what kafka-go puts before it
	}
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, ErrFenced) || errors.Is(err, ErrOutOfRange) {
		return err
	}
	e := &Error{Err: err}
	doing := strings.TrimSpace("cannot " + d.verb + " " + d.object)
	switch {
	case connectionError(e, err, doing):
	case answer(e, err, doing, d):
	default:
		e.Kind = Unexpected
		e.Text = fmt.Sprintf("%s: %s", doing, oneLine(err))
		e.Remedy = "look into the broker's log for the same moment"
	}
	return e
}

// connectionError explains what happened before the broker said anything.
func connectionError(e *Error, err error, doing string) bool {
	var (
		unknown  x509.UnknownAuthorityError
		invalid  x509.CertificateInvalidError
		hostname x509.HostnameError
		alert    tls.AlertError
		lookup   *net.DNSError
		record   tls.RecordHeaderError
	)
	text := err.Error()
	switch {
	case errors.As(err, &unknown):
		e.Kind, e.Remedy = Certificate, "give the authority that signed it with --kafka-tls-ca FILE"
		e.Text = doing + ": the broker's certificate is signed by an authority that is not known here"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		e.Kind, e.Remedy = Certificate, "renew the broker's certificate, or set this machine's clock"
		e.Text = doing + ": the broker's certificate is expired or not valid yet"
	case errors.As(err, &invalid):
		e.Kind, e.Remedy = Certificate, "let the broker have a certificate for servers"
		e.Text = doing + ": the broker's certificate cannot be used: " + invalid.Error()
	case errors.As(err, &hostname):
		e.Kind, e.Remedy = Certificate, "use a name that the certificate holds in --kafka, or give it with --kafka-tls-name"
		e.Text = doing + ": the broker's certificate is for another name: " + hostname.Error()
	case errors.As(err, &alert) || strings.Contains(text, "remote error: tls:"):
		e.Kind = Certificate
		e.Text = doing + ": the broker refuses this side's certificate: " + lastPart(text)
		e.Remedy = "give a client certificate that is valid now and signed by an authority the broker trusts, with --kafka-tls-cert and --kafka-tls-key"
	case errors.As(err, &record):
		e.Kind, e.Remedy = Transport, "leave the --kafka-tls settings out, or use the broker's TLS port"
		e.Text = doing + ": TLS was asked for, but the broker's port speaks plain text"
	case errors.As(err, &lookup):
		e.Kind, e.Remedy = Unreachable, "check the name in --kafka, and the names that the brokers advertise (advertised.listeners)"
		e.Text = fmt.Sprintf("%s: the name %s is not known", doing, lookup.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Kind, e.Remedy = Unreachable, "start the broker, or check address and port in --kafka"
		e.Text = doing + ": no broker listens there"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		e.Kind, e.Remedy = Unreachable, "check that the broker is up, and that no firewall is between"
		e.Text = doing + ": no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		e.Kind, e.Remedy = Interrupted, "it is tried again; if it lasts, check whether the broker is up, and whether its listener wants TLS or a password"
		e.Text = doing + ": the broker closed the connection"
	default:
		return false
	}
	return true
}

// answer explains what a broker said.
func answer(e *Error, err error, doing string, d deed) bool {
	var code kafka.Error
	if !errors.As(err, &code) {
		// kafka-go tells a refused password in words only where SCRAM's own
		// exchange ends.
		if strings.Contains(err.Error(), "SASL") {
			code = kafka.SASLAuthenticationFailed
		} else {
			return false
		}
	}
	who := "this user"
	if d.user != "" {
		who = "user " + quote(d.user)
	}
	switch code {
	case kafka.SASLAuthenticationFailed:
		e.Kind, e.Remedy = Password, "check --kafka-user, the password and --kafka-sasl (the mechanism) against what the broker knows"
		e.Text = fmt.Sprintf("%s: the broker refuses %s or the password", doing, who)
	case kafka.IllegalSASLState:
		e.Kind, e.Remedy = Password, "leave --kafka-user out, or use the broker's listener for SASL"
		e.Text = doing + ": this listener of the broker takes no user and password"
	case kafka.UnsupportedSASLMechanism:
		e.Kind, e.Remedy = Password, "give a mechanism that the broker has enabled with --kafka-sasl: plain, scram-sha-256 or scram-sha-512"
		e.Text = doing + ": the broker does not know this SASL mechanism"
	case kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.GroupAuthorizationFailed, kafka.DelegationTokenAuthorizationFailed:
		e.Kind = NoRights
		e.Text = fmt.Sprintf("%s: %s has no right to", doing, who)
		e.Remedy = "let it have the right, such as: kafka-acls.sh --add --allow-principal User:NAME --operation Write --topic TOPIC (Read for topic and group to ingest)"
	case kafka.UnknownTopicOrPartition, kafka.UnknownTopicID:
		e.Kind, e.Remedy = NoTopic, "make the topics with: scopedrift schema topics --kafka BROKERS"
		e.Text = doing + ": there is no such topic, or no right to see it"
	case kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend:
		e.Kind, e.Remedy = OutOfReplica, "it is tried again; bring the missing brokers back, or lower the topic's min.insync.replicas"
		e.Text = doing + ": too few replicas are in sync"
	default:
		if !code.Temporary() && code != kafka.GroupCoordinatorNotAvailable && code != kafka.BrokerNotAvailable {
			return false
		}
		e.Kind, e.Remedy = Interrupted, "it is tried again; if it lasts, look into the broker's log"
		e.Text = fmt.Sprintf("%s: the cluster is not ready: %s", doing, strings.ToLower(code.Title()))
	}
	return true
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// oneLine is an error's text in one line.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func lastPart(s string) string {
	if at := strings.LastIndex(s, "tls: "); at >= 0 {
		return s[at+len("tls: "):]
	}
	return s
}

func quote(s string) string { return fmt.Sprintf("%q", s) }
