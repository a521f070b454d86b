package pcap

import (
	"encoding/binary"
	"errors"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// ip4Layer is gopacket's IPv4 with packets that do not state their length: a host
// whose card cuts segments captures them so, longer than the field can say.
type ip4Layer struct {
	layers.IPv4
	// length is how long the payload is by the header, unsaid that it does not say.
	length int
	unsaid bool
}

func (l *ip4Layer) DecodeFromBytes(data []byte, df gopacket.DecodeFeedback) error {
	l.unsaid = len(data) >= 4 && data[2] == 0 && data[3] == 0
	huge := len(data) > 65535 && l.unsaid
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
// payload, or takes what stands behind the packet for a part of it. A host whose card
// cuts segments may leave the jumbogram's header out.
type ip6Layer struct {
	layers.IPv6
	// length is how long the payload is by the header, unsaid that it does not say.
	length int
	unsaid bool
}

func (l *ip6Layer) DecodeFromBytes(data []byte, df gopacket.DecodeFeedback) error {
	l.unsaid = len(data) > 40+65535 && data[4] == 0 && data[5] == 0 && layers.IPProtocol(data[6]) != layers.IPProtocolIPv6HopByHop
	if l.unsaid {
		l.Version, l.NextHeader = data[0]>>4, layers.IPProtocol(data[6])
		l.SrcIP, l.DstIP, l.HopByHop = data[8:24], data[24:40], nil
		l.BaseLayer = layers.BaseLayer{Contents: data[:40], Payload: data[40:]}
		l.length = len(l.Payload)
		return nil
	}
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

// tcpLayer reads a TCP header. Options are stepped over unseen: gopacket refuses a
// segment for one that makes no sense, receivers only the option.
type tcpLayer struct {
	layers.BaseLayer
	src, dst uint16
	seq, ack uint32
	flags    byte
	urgent   uint16
}

// The bits of the flags on the wire.
const (
	wireFIN = 1 << iota
	wireSYN
	wireRST
	wirePSH
	wireACK
	wireURG
)

var errTCP = errors.New("a TCP header is cut or says what cannot be")

func (t *tcpLayer) DecodeFromBytes(data []byte, _ gopacket.DecodeFeedback) error {
	if len(data) < 20 {
		return errTCP
	}
	size := int(data[12]>>4) * 4
	if size < 20 || size > len(data) {
		return errTCP
	}
	t.src, t.dst = binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:])
	t.seq, t.ack = binary.BigEndian.Uint32(data[4:]), binary.BigEndian.Uint32(data[8:])
	t.flags, t.urgent = data[13], binary.BigEndian.Uint16(data[18:])
	t.Contents, t.Payload = data[:size], data[size:]
	return nil
}

func (*tcpLayer) CanDecode() gopacket.LayerClass    { return layers.LayerTypeTCP }
func (*tcpLayer) NextLayerType() gopacket.LayerType { return gopacket.LayerTypePayload }
