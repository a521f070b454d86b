package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// Config says where the brokers are and how to come in.
type Config struct {
	// Brokers are some of the cluster's, as host:port; the others are found by
	// them. Without a port it is 9092.
	Brokers []string
	// ClientID names this side in the broker's logs and quotas; "scopedrift" if
	// it is empty.
	ClientID string
	// TLS is nil for plain text.
	TLS *TLS
	// SASL is nil where no password is wanted.
	SASL *SASL
}

// TLS names the files of an encrypted connection.
type TLS struct {
	// CA holds the authorities that sign brokers' certificates, in PEM; the
	// system's if it is empty.
	CA string
	// Certificate and Key are this side's, in PEM, where the broker wants them.
	Certificate, Key string
	// ServerName is what the broker's certificate has to be for, if not the host
	// that was dialled.
	ServerName string
}

// The SASL mechanisms.
const (
	Plain       = "plain"
	ScramSHA256 = "scram-sha-256"
	ScramSHA512 = "scram-sha-512"
)

// Mechanisms lists them.
func Mechanisms() []string { return []string{Plain, ScramSHA256, ScramSHA512} }

// Secret is a text that does not print itself.
type Secret string

// String returns no part of the secret.
func (Secret) String() string { return "(secret)" }

// GoString returns no part of the secret.
func (Secret) GoString() string { return "(secret)" }

// MarshalText returns no part of the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// SASL is a user and what proves it.
type SASL struct {
	// Mechanism is one of [Mechanisms].
	Mechanism string
	User      string
	Password  Secret
	// PasswordFile holds the password if Password is empty; a newline at its end
	// is not part of it.
	PasswordFile string
}

// wrong is an error of the configuration.
func wrong(text, remedy string, cause error) *Error {
	return &Error{Kind: WrongConfig, Text: text, Remedy: remedy, Err: cause}
}

// link is a configuration made ready: its files are read, nothing is dialled.
type link struct {
	brokers  []string
	clientID string
	user     string
	tls      *renewedTLS
	sasl     *renewedSASL
	client   *kafka.Client
	pool     *kafka.Transport
	dialer   *kafka.Dialer
}

const (
	dialTimeout = 10 * time.Second
	// metadataTTL is how old what is known of the cluster may be: how long it
	// takes to follow a partition to its new leader.
	metadataTTL = 3 * time.Second
	defaultPort = "9092"
)

// open reads the files of a configuration. topics are those whose metadata is
// wanted; none means all of the cluster.
func (c Config) open(topics ...string) (*link, error) {
	l := &link{clientID: c.ClientID}
	if l.clientID == "" {
		l.clientID = "scopedrift"
	}
	for _, broker := range c.Brokers {
		address, err := completeAddress(broker)
		if err != nil {
			return nil, err
		}
		l.brokers = append(l.brokers, address)
	}
	if len(l.brokers) == 0 {
		return nil, wrong("no Kafka broker is given", "name one or more with --kafka HOST:PORT,HOST:PORT", nil)
	}
	var err error
	if c.TLS != nil {
		if l.tls, err = newRenewedTLS(*c.TLS); err != nil {
			return nil, err
		}
	}
	if c.SASL != nil {
		l.user = c.SASL.User
		if l.sasl, err = newRenewedSASL(*c.SASL); err != nil {
			return nil, err
		}
	}
	// TLS is ours and not kafka-go's, so that its errors are known for what they
	// are before Kafka's protocol begins.
	l.dialer = &kafka.Dialer{ClientID: l.clientID, Timeout: dialTimeout, DialFunc: l.dial}
	l.pool = &kafka.Transport{ClientID: l.clientID, DialTimeout: dialTimeout, Dial: l.dial,
		MetadataTTL: metadataTTL, MetadataTopics: topics, IdleTimeout: time.Minute}
	if l.sasl != nil { // a nil pointer in their interfaces would not be nil
		l.dialer.SASLMechanism, l.pool.SASL = l.sasl, l.sasl
	}
	l.client = &kafka.Client{Addr: kafka.TCP(l.brokers...), Transport: l.pool}
	return l, nil
}

func (l *link) close() { l.pool.CloseIdleConnections() }

func (l *link) deed(verb, object string) deed { return deed{verb, object, l.user} }

func completeAddress(broker string) (string, error) {
	broker = strings.TrimSpace(broker)
	host, port, err := net.SplitHostPort(broker)
	if err != nil {
		host, port = strings.Trim(broker, "[]"), defaultPort
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if host == "" || err != nil || n == 0 || strings.ContainsAny(host, "/ @?") {
		return "", wrong(fmt.Sprintf("%q is no address of a Kafka broker", broker), "write it as HOST:PORT, without a scheme", nil)
	}
	return net.JoinHostPort(host, port), nil
}

func (t *TLS) config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		data, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, wrong("cannot read the certificate authorities: "+err.Error(), "check --kafka-tls-ca", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(data) {
			return nil, wrong(t.CA+" holds no certificate in PEM form", "give the authority's certificate (-----BEGIN CERTIFICATE-----) with --kafka-tls-ca", nil)
		}
	}
	if (t.Certificate == "") != (t.Key == "") {
		return nil, wrong("a client certificate and its key go together, and one of them is missing", "give both --kafka-tls-cert and --kafka-tls-key, or neither", nil)
	}
	if t.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, wrong("cannot use the client certificate: "+plainText(err), "check that --kafka-tls-cert and --kafka-tls-key are in PEM form and belong together", err)
		}
		if leaf := pair.Leaf; leaf != nil && time.Now().After(leaf.NotAfter) {
			return nil, &Error{Kind: Certificate,
				Text:   fmt.Sprintf("the client certificate %s expired at %s", t.Certificate, leaf.NotAfter.UTC().Format(time.RFC3339)),
				Remedy: "renew it, or set this machine's clock"}
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

func plainText(err error) string { return strings.TrimPrefix(err.Error(), "tls: ") }

func (s *SASL) mechanism() (sasl.Mechanism, error) {
	password := string(s.Password)
	if password == "" && s.PasswordFile != "" {
		data, err := os.ReadFile(s.PasswordFile)
		if err != nil {
			return nil, wrong("cannot read the password for Kafka: "+err.Error(), "check --kafka-password-file", err)
		}
		password = strings.TrimRight(string(data), "\r\n")
	}
	if s.User == "" || password == "" {
		return nil, wrong("SASL needs a user and a password", "give --kafka-user, and the password with --kafka-password-file or in SCOPEDRIFT_KAFKA_PASSWORD", nil)
	}
	var mechanism sasl.Mechanism
	var err error
	switch strings.ToLower(s.Mechanism) {
	case Plain:
		mechanism = plain.Mechanism{Username: s.User, Password: password}
	case ScramSHA256:
		mechanism, err = scram.Mechanism(scram.SHA256, s.User, password)
	case ScramSHA512:
		mechanism, err = scram.Mechanism(scram.SHA512, s.User, password)
	default:
		return nil, wrong(fmt.Sprintf("%q is no SASL mechanism that is known here", s.Mechanism), "choose one of "+strings.Join(Mechanisms(), ", "), nil)
	}
	if err != nil {
		// The cause may hold the password.
		return nil, wrong("user or password cannot be used with "+s.Mechanism+": it holds characters that SASL forbids", "change the password", nil)
	}
	return mechanism, nil
}

// dial connects, and makes TLS where it is configured.
func (l *link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{KeepAlive: 30 * time.Second}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, explain(err, l.deed("connect to Kafka at", address))
	}
	if l.tls == nil {
		return &plainConn{Conn: conn, link: l, address: address}, nil
	}
	cfg := l.tls.config()
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(address)
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, explain(handshakeError(err), l.deed("connect to Kafka at", address))
	}
	return secure, nil
}

// handshakeError tells a broker that closes the connection in the middle of a
// handshake for what it is: Kafka's plain-text listener takes the client's hello
// for a far too long request.
func handshakeError(err error) error {
	var wrapped *Error
	if errors.As(err, &wrapped) || isTimeout(err) {
		return err
	}
	var opError *net.OpError
	if err.Error() == "EOF" || errors.As(err, &opError) && !strings.Contains(err.Error(), "remote error") {
		return tls.RecordHeaderError{Msg: "closed during the handshake"}
	}
	return err
}

// plainConn notices a broker that answers plain text with TLS.
type plainConn struct {
	net.Conn
	link    *link
	address string
	read    bool
}

func (c *plainConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.read || n == 0 && err == nil {
		return n, err
	}
	// 0x15 0x03 begins an alert of TLS; an answer of Kafka's begins with its
	// length, which would be 352 MB here.
	if n >= 2 && p[0] == 0x15 && p[1] == 0x03 {
		return 0, &Error{Kind: Transport,
			Text:   "cannot connect to Kafka at " + c.address + ": plain text was sent, but the broker's port speaks TLS",
			Remedy: "give --kafka-tls, or use the broker's plain-text port"}
	}
	c.read = true
	return n, err
}

// Check connects to the brokers and returns why that fails, if no one of them
// takes the connection.
func (c Config) Check(ctx context.Context) error {
	l, err := c.open()
	if err != nil {
		return err
	}
	defer l.close()
	return l.probe(ctx)
}

// probe tells why nothing works: it asks each broker by a connection of its own.
func (l *link) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var first error
	for _, broker := range l.brokers {
		err := l.probeOne(ctx, broker)
		if err == nil {
			return nil
		}
		if first == nil || definite(err) && !definite(first) {
			first = err
		}
	}
	return first
}

func (l *link) probeOne(ctx context.Context, broker string) error {
	what := l.deed("connect to Kafka at", broker)
	conn, err := l.dialer.DialContext(ctx, "tcp", broker)
	if err != nil {
		return explain(err, what)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err = conn.Brokers(); err == nil {
		return nil
	}
	if l.sasl == nil && (errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(err.Error(), "EOF")) {
		return &Error{Kind: Password, Err: err,
			Text:   "cannot use Kafka at " + broker + ": the broker closes the connection at the first request, so its listener may want a user and password",
			Remedy: "give --kafka-user and --kafka-sasl, or use another listener; with none of them wrong, look into the broker's log"}
	}
	return explain(err, what)
}
