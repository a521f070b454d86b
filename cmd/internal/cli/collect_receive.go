package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/operate"
	"github.com/scopedrift/scopedrift/collector/receive"
)

// receiveTokenVariable may hold the token that pushing clients have to send.
const receiveTokenVariable = "SCOPEDRIFT_RECEIVE_TOKEN"

const collectReceiveLong = `Takes gateway logs that are pushed over HTTP: POST ` + receive.Path + ` with lines of any
known format, plain, gzip or zstd. The answer is 200 when Kafka (or the spool) has
every call of the body. While Kafka is behind the answer is 429 with Retry-After;
after any other answer than 200, or none, push the same body again: its calls have
the same ids.

Who may push may push anything, so beyond loopback a token (--token-file, or
` + receiveTokenVariable + `) or client certificates (--tls-client-ca) are wanted.
SIGTERM answers what is under way, within 15 s.`

// receiving is what the flags of the receiver say.
type receiving struct {
	listen, name, tokenFile   string
	certificate, key, clients string
	body                      size
	requests                  int
	spool                     spooling
}

func (a *app) collectReceiveCommand() *cobra.Command {
	o := receiving{listen: "127.0.0.1:9480", name: "push", body: size{8 << 20}, requests: 16, spool: newSpooling()}
	c := &cobra.Command{
		Use: "receive", Short: "hand on the calls of logs that are pushed over HTTP", Long: collectReceiveLong, Args: cobra.NoArgs,
		Example: "  scopedrift collect receive --kafka kafka-1:9092 --listen 127.0.0.1:9480 --token-file token\n" +
			"  curl -fsS --data-binary @access.log -H \"Authorization: Bearer $(cat token)\" http://127.0.0.1:9480" + receive.Path,
	}
	flags := c.Flags()
	flags.StringVar(&o.listen, "listen", o.listen, "host:port to listen on")
	flags.StringVar(&o.name, "name", o.name, "name of this input in calls and coverage")
	flags.StringVar(&o.tokenFile, "token-file", "", "file with the bearer token that clients have to send")
	flags.StringVar(&o.certificate, "tls-cert", "", "file with the certificate to serve TLS with")
	flags.StringVar(&o.key, "tls-key", "", "file with the certificate's key")
	flags.StringVar(&o.clients, "tls-client-ca", "", "file with the authorities whose client certificates are wanted")
	flags.Var(&o.body, "max-body", "largest body, also when it is unpacked")
	flags.IntVar(&o.requests, "requests", o.requests, "bodies that are held at the same time")
	a.bindOutlet(flags, &o.spool)
	a.settings.bind(flags, "format", "format-file", "key", "host", "tenant", "metrics-listen")
	c.RunE = a.action(func(ctx context.Context, _ []string) error {
		switch {
		case o.body.value < 1<<10 || o.body.value > 256<<20:
			return usage("--max-body is not between 1KiB and 256MiB", "8MiB is usual")
		case o.requests < 1 || o.requests > 1024:
			return usage(fmt.Sprintf("--requests %d is not between 1 and 1024", o.requests), "16 is usual")
		}
		return a.collectReceive(ctx, o)
	})
	return c
}

// collectReceive takes pushed logs until ctx ends.
func (a *app) collectReceive(ctx context.Context, o receiving) (err error) {
	token, err := a.receiveToken(o.tokenFile)
	if err != nil {
		return err
	}
	secure, err := a.receiveTLS(o)
	if err != nil {
		return err
	}
	if err := guarded(o, len(token) > 0); err != nil {
		return err
	}
	if err := a.oneFormat(); err != nil {
		return err
	}
	key, err := a.installationKey()
	if err != nil {
		return err
	}
	g, err := a.newGateway(ctx, key, nil, a.newCaptures(key, nil), startProgress(nil, false, 0))
	if err != nil {
		return err
	}
	receiver, err := receive.New(receive.Config{
		Gateway: g, Listen: o.listen, Name: o.name, Token: token, TLS: secure, MaxBody: int64(o.body.value), Requests: o.requests, Drain: collectDrain,
	})
	if err != nil {
		return misused(err)
	}
	if err := receiver.Open(); err != nil {
		return misused(err)
	}
	st, err := a.openStation(ctx, "collect", nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	out, err := a.openOutlet(st, o.spool)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	observeReceiver(st.server, receiver.Stats)
	st.log.Info().Str("address", receiver.Address()).Bool("tls", secure != nil).Bool("token", len(token) > 0).Str("to", out.name).Msg("receiving at " + receive.Path)
	return out.deliver(ctx, receiver.Run)
}

// receiveToken reads the token: the file that is named, or else the variable.
func (a *app) receiveToken(file string) ([]byte, error) {
	if file == "" {
		return []byte(a.env.Getenv(receiveTokenVariable)), nil
	}
	token, err := a.env.ReadFile(file, 4<<10)
	if err != nil {
		return nil, misused(fmt.Errorf("read the token: %w", err))
	}
	if token = bytes.TrimSpace(token); len(token) < 16 {
		return nil, usage("the token in "+file+" is shorter than 16 characters", "make one: head -c 32 /dev/urandom | base64 > "+file)
	}
	return token, nil
}

// guarded wants a way to tell who pushes, where others than this machine can.
func guarded(o receiving, token bool) error {
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return misused(fmt.Errorf("--listen: %w", err), "name a host and port, such as 127.0.0.1:9480")
	}
	ip := net.ParseIP(host)
	if host == "localhost" || ip != nil && ip.IsLoopback() || token || o.clients != "" {
		return nil
	}
	return usage("anybody who reaches "+o.listen+" could push calls",
		"pass --token-file FILE or --tls-client-ca FILE, or listen on 127.0.0.1")
}

// receiveTLS loads what TLS needs; nil is plain text.
func (a *app) receiveTLS(o receiving) (*tls.Config, error) {
	switch {
	case o.certificate == "" && o.key == "" && o.clients == "":
		return nil, nil
	case o.certificate == "" || o.key == "":
		return nil, usage("TLS needs a certificate and its key", "pass --tls-cert FILE and --tls-key FILE")
	}
	certificate, err := tls.LoadX509KeyPair(a.env.Path(o.certificate), a.env.Path(o.key))
	if err != nil {
		return nil, misused(fmt.Errorf("read the certificate: %w", err))
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	if o.clients != "" {
		authorities, err := a.env.ReadFile(o.clients, 1<<20)
		if err != nil {
			return nil, misused(fmt.Errorf("read the authorities of clients: %w", err))
		}
		cfg.ClientCAs, cfg.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !cfg.ClientCAs.AppendCertsFromPEM(authorities) {
			return nil, usage("there is no certificate in "+o.clients, "name a file with certificates in PEM")
		}
	}
	return cfg, nil
}

// observeReceiver adds the counters of a receiver.
func observeReceiver(s *operate.Server, stats func() receive.Stats) {
	s.Counters("scopedrift_receive_answers_total", "Requests, by the status of the answer.", "status", func() map[string]uint64 {
		answers := map[string]uint64{}
		for status, n := range stats().Answers {
			answers[strconv.Itoa(status)] = n
		}
		return answers
	})
	s.Counter("scopedrift_receive_units_total", "Lines and other units that were pushed and acknowledged.", func() uint64 { return stats().Units })
	s.Counter("scopedrift_receive_calls_total", "Calls that were pushed and acknowledged.", func() uint64 { return stats().Calls })
	s.Counter("scopedrift_receive_bytes_total", "Bytes that were pushed and acknowledged, unpacked.", func() uint64 { return stats().Bytes })
	s.Counters("scopedrift_receive_skipped_total", "Pushed lines and other units that became no call.", "reason", func() map[string]uint64 { return stats().Skipped })
	s.Gauge("scopedrift_receive_requests", "Requests that are being worked on.", func() float64 { return float64(stats().Requests) })
	s.Gauge("scopedrift_receive_connections", "Open connections.", func() float64 { return float64(stats().Connections) })
	s.Ready("sink", func() error {
		if behind := stats().Behind; !behind.IsZero() && time.Since(behind) > 10*time.Second {
			return fmt.Errorf("bodies are refused since %s, since their calls cannot be handed on", behind.UTC().Format(time.RFC3339))
		}
		return nil
	})
}
