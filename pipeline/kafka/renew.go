package kafka

import (
	"context"
	"crypto/tls"
	"sync/atomic"

	"github.com/segmentio/kafka-go/sasl"
)

// Certificates and passwords are renewed while a process runs, so their files are
// read again for each connection. While somebody is writing them they may not be
// whole: then the last good ones are used.

// renewedTLS is a TLS configuration whose files are read again.
type renewedTLS struct {
	files TLS
	last  atomic.Pointer[tls.Config]
}

func newRenewedTLS(files TLS) (*renewedTLS, error) {
	r := &renewedTLS{files: files}
	cfg, err := files.config()
	r.last.Store(cfg)
	return r, err
}

// config returns a configuration of the caller's own.
func (r *renewedTLS) config() *tls.Config {
	if cfg, err := r.files.config(); err == nil {
		r.last.Store(cfg)
	}
	return r.last.Load().Clone()
}

// renewedSASL is a mechanism whose password file is read again.
type renewedSASL struct {
	user SASL
	last atomic.Pointer[sasl.Mechanism]
}

func newRenewedSASL(user SASL) (*renewedSASL, error) {
	r := &renewedSASL{user: user}
	m, err := user.mechanism()
	r.last.Store(&m)
	return r, err
}

// Name is the mechanism's.
func (r *renewedSASL) Name() string { return (*r.last.Load()).Name() }

// Start begins a proof with the password of now.
func (r *renewedSASL) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	if m, err := r.user.mechanism(); err == nil {
		r.last.Store(&m)
	}
	return (*r.last.Load()).Start(ctx)
}
