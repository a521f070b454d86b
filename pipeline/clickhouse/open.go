// Package clickhouse connects to ClickHouse: the embedded engine or a server.
//
// [Open] returns clickhouse-go's connection pool for a [Target]; [Explain]
// turns what a statement failed with into a sentence with a remedy. Everything
// above them is the same for the engine and a server, so the same SQL runs on
// both.
//
// It promises that no password stands in an error, and that Open returns a
// connection that has answered. It cannot tell afterwards whether an insert
// that failed was stored: repeat it with the same deduplication token.
package clickhouse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Target says which ClickHouse to use: exactly one of Socket and URL is set.
type Target struct {
	// Socket is the unix socket of the embedded engine.
	Socket string
	// URL is a server: clickhouse://, http:// or https://, with user, password
	// and database as in clickhouse://user:password@host:9000/database, and
	// clickhouse-go's options and ClickHouse's settings as its query.
	URL string
	// Password is used if URL has none; it may come from the environment.
	Password string
	// PasswordFile holds the password, for the same case; a final line break
	// does not belong to it.
	PasswordFile string
	// Database is used if URL names none; empty means "default".
	Database string
	// Settings are ClickHouse settings of every statement. They do not override
	// those in URL.
	Settings map[string]any
	// MaxConns bounds the statements at the same time; 0 is 10.
	MaxConns int
}

// pingTimeout bounds the first answer.
const pingTimeout = 30 * time.Second

// Open connects and waits for the first answer. The caller closes the
// connection. Every error is an [*Error] or that of ctx.
func Open(ctx context.Context, t Target) (driver.Conn, error) {
	opt, err := t.options()
	if err != nil {
		return nil, err
	}
	conn, err := ch.Open(opt)
	if err != nil {
		return nil, &Error{Kind: WrongTarget, Text: fmt.Sprintf("cannot use %s: %v", t, scrub(err, opt.Auth.Password)), Remedy: urlRemedy}
	}
	pingCtx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := ping(pingCtx, conn); err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, t.unreachable(err, opt.Auth.Password)
	}
	return conn, nil
}

// ping returns when ctx ends, also where clickhouse-go would go on: the native
// handshake does not look at it.
func ping(ctx context.Context, conn driver.Conn) error {
	answer := make(chan error, 1)
	go func() { answer <- conn.Ping(ctx) }()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

const urlRemedy = "give a URL such as clickhouse://user@host:9000/database or https://user@host:8443/database"

// String names the target for messages: without user, password and options.
func (t Target) String() string {
	if t.Socket != "" {
		return "the embedded engine"
	}
	u, err := url.Parse(t.URL)
	if err != nil || u.Host == "" {
		return "the ClickHouse server"
	}
	return fmt.Sprintf("ClickHouse at %s://%s", u.Scheme, u.Host)
}

// GoString keeps the password out of %#v as well.
func (t Target) GoString() string { return t.String() }

func (t Target) options() (*ch.Options, error) {
	switch {
	case t.Socket != "" && t.URL != "":
		return nil, &Error{Kind: WrongTarget, Text: "both the embedded engine and a server are asked for", Remedy: "choose one of them"}
	case t.Socket != "":
		return t.socketOptions(), nil
	case t.URL != "":
		return t.urlOptions()
	}
	return nil, &Error{Kind: WrongTarget, Text: "neither the embedded engine nor a server is asked for", Remedy: urlRemedy}
}

func (t Target) socketOptions() *ch.Options {
	socket := t.Socket
	opt := &ch.Options{
		Protocol: ch.HTTP,
		Addr:     []string{"engine"},
		DialContext: func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		// A socket is faster than any compression.
		Compression: &ch.Compression{Method: ch.CompressionNone},
		// A statement may think as long as it likes: the context bounds it.
		ReadTimeout: 24 * time.Hour,
		// This also bounds the wait for a free connection of the pool.
		DialTimeout: 10 * time.Minute,
	}
	t.fill(opt)
	return opt
}

// fill sets what the target says beside its address.
func (t Target) fill(opt *ch.Options) {
	if opt.Auth.Database == "" {
		opt.Auth.Database = t.Database
	}
	if opt.Settings == nil {
		opt.Settings = ch.Settings{}
	}
	for _, name := range slices.Sorted(maps.Keys(t.Settings)) {
		if _, ok := opt.Settings[name]; !ok {
			opt.Settings[name] = t.Settings[name]
		}
	}
	if opt.MaxOpenConns == 0 {
		opt.MaxOpenConns = t.MaxConns
		if opt.MaxOpenConns == 0 {
			opt.MaxOpenConns = 10
		}
		opt.MaxIdleConns = opt.MaxOpenConns
	}
	opt.ClientInfo.Products = append(opt.ClientInfo.Products, struct{ Name, Version string }{"scopedrift", ""})
}

// clusterSettings make the same SQL right where the server is one of a cluster:
// an insert returns when the shards have it, and a question within a question is
// asked of all shards.
var clusterSettings = ch.Settings{"distributed_foreground_insert": 1, "distributed_product_mode": "global"}

func (t Target) urlOptions() (*ch.Options, error) {
	u, err := url.Parse(t.URL)
	if err != nil {
		// The parser's words contain the URL, and with it the password.
		return nil, &Error{Kind: WrongTarget, Text: "the ClickHouse URL cannot be read", Remedy: urlRemedy + "; write special characters of a password as %XX, or give it in a file"}
	}
	if u.Host == "" {
		return nil, &Error{Kind: WrongTarget, Text: "the ClickHouse URL has no host", Remedy: urlRemedy}
	}
	secure := false
	switch u.Scheme {
	case "clickhouse", "http":
	case "https":
		secure = true
	default:
		return nil, &Error{Kind: WrongTarget, Text: fmt.Sprintf("the ClickHouse URL has the scheme %q", u.Scheme), Remedy: urlRemedy}
	}
	dsn := *u
	if secure && !u.Query().Has("secure") {
		q := u.Query()
		q.Set("secure", "true") // clickhouse-go wants it said twice
		dsn.RawQuery = q.Encode()
	}
	opt, err := ch.ParseDSN(dsn.String())
	if err != nil {
		pass, _ := u.User.Password()
		return nil, &Error{Kind: WrongTarget, Text: fmt.Sprintf("the ClickHouse URL cannot be used: %v", scrub(err, pass, u.Query().Get("password"))), Remedy: urlRemedy}
	}
	if opt.TLS != nil {
		opt.TLS.MinVersion = tls.VersionTLS12
	}
	if opt.Auth.Password == "" {
		if opt.Auth.Password, err = t.password(); err != nil {
			return nil, err
		}
	}
	if opt.Compression == nil {
		// It pays on every network, and costs little.
		opt.Compression = &ch.Compression{Method: ch.CompressionLZ4}
	}
	t.fill(opt)
	for name, value := range clusterSettings {
		if _, ok := opt.Settings[name]; !ok {
			opt.Settings[name] = value
		}
	}
	return opt, nil
}

func (t Target) password() (string, error) {
	if t.Password != "" || t.PasswordFile == "" {
		return t.Password, nil
	}
	data, err := os.ReadFile(t.PasswordFile)
	if err != nil {
		var p *os.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return "", &Error{Kind: WrongTarget, Text: fmt.Sprintf("cannot read the ClickHouse password from %s: %v", t.PasswordFile, err),
			Remedy: "give a file that this user can read"}
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

// scrub is an error's text without the secrets in it, plain or escaped.
func scrub(err error, secrets ...string) string {
	text := err.Error()
	for _, s := range secrets {
		if s == "" {
			continue
		}
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s), url.UserPassword("", s).String()[1:]} {
			text = strings.ReplaceAll(text, form, "xxxxx")
		}
	}
	return text
}
