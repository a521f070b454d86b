//go:build !linux

package live

import (
	"context"
	"errors"

	"github.com/scopedrift/scopedrift/collector/pcap"
)

// errOnlyLinux says that the package works on Linux alone.
var errOnlyLinux = errors.New("live capture works on Linux only; capture with tcpdump elsewhere and read the files")

// Socket captures from a network interface. It exists on Linux only.
type Socket struct{}

// New returns a Socket. It does nothing yet.
func New(Config) *Socket { return &Socket{} }

// Open fails here.
func (*Socket) Open() error { return errOnlyLinux }

// Next fails here.
func (*Socket) Next(context.Context, *pcap.Packet, func() error) error { return errOnlyLinux }

// Lost returns nothing.
func (*Socket) Lost() map[string]uint64 { return nil }

// DropRights has nothing to give up.
func DropRights() error { return nil }

// Close does nothing.
func (*Socket) Close() error { return nil }
