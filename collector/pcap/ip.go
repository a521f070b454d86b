package pcap

import (
	"encoding/binary"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// ip4Layer is gopacket's IPv4 with packets that do not state their length: a host
// whose card cuts segments captures them so, longer than the field can say.
type ip4Layer struct {
	layers.IPv4
	// length is how long the payload is by the header.
	length int
}

func (l *ip4Layer) DecodeFromBytes(data []byte, df gopacket.DecodeFeedback) error {
	huge := len(data) > 65535 && data[2] == 0 && data[3] == 0
	first := data
	if huge {
		first = data[:65535]
	}
	if err := l.IPv4.DecodeFromBytes(first, df); err != nil {
		return err
	}
	l.length = int(l.Length) - 4*int(l.IHL)
	if huge {
		l.Payload = data[4*int(l.IHL):]
		l.length = len(l.Payload)
	}
	return nil
}

// ip6Layer is gopacket's IPv6 with the length of the payload behind a hop-by-hop
// header, and with jumbograms (RFC 2675): there gopacket leaves the header in the
// payload, or takes what stands behind the packet for a part of it.
type ip6Layer struct {
	layers.IPv6
	// length is how long the payload is by the header.
	length int
}

func (l *ip6Layer) DecodeFromBytes(data []byte, df gopacket.DecodeFeedback) error {
	if err := l.IPv6.DecodeFromBytes(data, df); err != nil {
		return err
	}
	l.length = int(l.Length)
	if l.HopByHop == nil {
		return nil
	}
	header := l.HopByHop.ActualLength
	if l.Length == 0 {
		for _, o := range l.HopByHop.Options {
			if o.OptionType == 0xc2 && len(o.OptionData) == 4 {
				l.length = int(binary.BigEndian.Uint32(o.OptionData))
			}
		}
		l.Payload = l.Payload[min(header, len(l.Payload)):]
	}
	l.length = max(l.length-header, 0)
	l.Payload = l.Payload[:min(l.length, len(l.Payload))]
	return nil
}
