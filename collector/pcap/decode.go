package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// This file, ip.go and tunnel.go are the only ones that know gopacket. Just the layers below are
// registered: its other decoders have known panics.

// The TCP flags that matter here.
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagACK
)

// endpoint is one side of a connection: a 16-byte address (IPv4 mapped) and a
// port.
type endpoint [18]byte

func (e *endpoint) port() uint16 { return binary.BigEndian.Uint16(e[16:]) }

// packet is one TCP segment as the wire had it. payload aliases the record.
type packet struct {
	src, dst endpoint
	// tunnel is the innermost tunnel's network id, 0 without one: two tenants
	// may use the same addresses.
	tunnel uint32
	// vlan is 1 without VLAN tags, else 1 and a number of them all.
	vlan     uint32
	seq, ack uint32
	flags    uint8
	payload  []byte
	// missing is how many bytes of payload the capture cut off at its end.
	missing uint32
	// doubtful says that its IP header claims more than the wire carried: a receiver
	// would not take it, and a capture that keeps no true length looks the same.
	doubtful bool
	// urgent says that a byte of it is marked as urgent, urgentAt which.
	urgent   bool
	urgentAt int
	nanos    int64
	number   uint64
}

// Reasons why a packet carries no TCP segment for us. They are keys of
// Stats.Skipped and of a batch's Skipped.
const (
	reasonNotIP  = "not_ip"
	reasonNotTCP = "not_tcp"
	// reasonFragment is a part of a datagram that waits for the others; the one
	// that completes it counts as a packet.
	reasonFragment  = "ip_fragment"
	reasonFragment6 = "ipv6_fragment"
	reasonLink      = "link_type_unknown"
	// reasonQUIC is the beginning of a connection of HTTP/3, or of what else speaks
	// QUIC: encrypted, and what follows cannot be told from other datagrams.
	reasonQUIC      = "quic"
	reasonEncrypted = "wireless_encrypted"
	reasonIPsec     = "ipsec_encrypted"
	reasonMACsec    = "macsec_encrypted"
	reasonMalformed = "malformed_packet"
	reasonPanic     = "decoder_panic"
	reasonTooLong   = "packet_too_long"
	// reasonLength is a packet that claims to be longer than it was: forged, and taken
	// by no receiver.
	reasonLength = dropLength
)

// etherMACsec is the Ethernet type of what a link encrypts (IEEE 802.1AE).
const etherMACsec layers.EthernetType = 0x88e5

// geneveLayer makes gopacket's Geneve reusable: it would keep the options of
// every packet, and lacks a method.
type geneveLayer struct{ layers.Geneve }

func (g *geneveLayer) DecodeFromBytes(data []byte, df gopacket.DecodeFeedback) error {
	g.Options = g.Options[:0]
	return g.Geneve.DecodeFromBytes(data, df)
}

func (g *geneveLayer) CanDecode() gopacket.LayerClass { return layers.LayerTypeGeneve }

// extensionLayer skips IPv6 extension headers, but not fragments.
type extensionLayer struct{ layers.IPv6ExtensionSkipper }

func (*extensionLayer) CanDecode() gopacket.LayerClass { return extensionClass }

var extensionClass = gopacket.NewLayerClass([]gopacket.LayerType{
	layers.LayerTypeIPv6HopByHop, layers.LayerTypeIPv6Routing, layers.LayerTypeIPv6Destination,
})

// mplsLayer skips a stack of labels. What follows says nowhere what it is: IP is
// told by its version, Ethernet (RFC 4448) by the control word before it.
type mplsLayer struct {
	layers.BaseLayer
	next gopacket.LayerType
}

var errMPLS = errors.New("a stack of MPLS labels has no end")

func (m *mplsLayer) DecodeFromBytes(data []byte, _ gopacket.DecodeFeedback) error {
	for at := 0; at+4 < len(data) && at < 64; at += 4 {
		if data[at+2]&1 == 0 {
			continue
		}
		m.Contents, m.Payload = data[:at+4], data[at+4:]
		switch m.Payload[0] >> 4 {
		case 4:
			m.next = layers.LayerTypeIPv4
		case 6:
			m.next = layers.LayerTypeIPv6
		default:
			if m.next = gopacket.LayerTypePayload; m.Payload[0]>>4 == 0 && len(m.Payload) > 4 {
				m.next, m.Payload = layers.LayerTypeEthernet, m.Payload[4:]
			}
		}
		return nil
	}
	return errMPLS
}

func (*mplsLayer) CanDecode() gopacket.LayerClass      { return layers.LayerTypeMPLS }
func (m *mplsLayer) NextLayerType() gopacket.LayerType { return m.next }

// decoder turns records into packets. Not safe for concurrent use.
type decoder struct {
	eth    ethernetLayer
	vlan   vlanLayer
	ip4    ip4Layer
	ip6    ip6Layer
	ext    extensionLayer
	udp    udpLayer
	tcp    tcpLayer
	vxlan  layers.VXLAN
	geneve geneveLayer
	gre    greLayer
	mpls   mplsLayer
	parts  defragmenter
	// room is how much of the data to decode the capture may have cut off.
	room int
	// longest is how much of a packet was captured at most.
	longest int

	fromEthernet, fromVLAN, fromIP4, fromIP6, fromMPLS, fromPPPoE *gopacket.DecodingLayerParser

	found []gopacket.LayerType
}

func newDecoder() *decoder {
	d := &decoder{found: make([]gopacket.LayerType, 0, 16)}
	all := append(d.heads(),
		&d.eth, &d.vlan, &d.ip4, &d.ip6, &d.ext, &d.udp, &d.tcp, &d.vxlan, &d.geneve, &d.gre, &d.mpls)
	parser := func(first gopacket.LayerType) *gopacket.DecodingLayerParser {
		container := gopacket.DecodingLayerContainer(gopacket.DecodingLayerSparse(nil))
		for _, layer := range all {
			container = container.Put(layer)
		}
		p := gopacket.NewDecodingLayerParser(first)
		p.SetDecodingLayerContainer(container)
		// A panic becomes an error (IgnorePanic is unset); the payload of TCP
		// has no decoder on purpose.
		p.IgnoreUnsupported = true
		return p
	}
	d.fromEthernet = parser(layers.LayerTypeEthernet)
	d.fromVLAN = parser(layers.LayerTypeDot1Q)
	d.fromIP4 = parser(layers.LayerTypeIPv4)
	d.fromIP6 = parser(layers.LayerTypeIPv6)
	d.fromMPLS = parser(layers.LayerTypeMPLS)
	d.fromPPPoE = parser(layers.LayerTypePPPoE)
	return d
}

// decode fills p from rec. It returns "" or the reason why there is no segment.
func (d *decoder) decode(rec *record, p *packet) string {
	data, kind, reason := unwrap(rec)
	if reason != "" {
		return reason
	}
	var parser *gopacket.DecodingLayerParser
	switch kind {
	case frameEthernet:
		parser = d.fromEthernet
	case 0x0800:
		parser = d.fromIP4
	case 0x86dd:
		parser = d.fromIP6
	case 0x8100, 0x88a8, 0x9100, 0x9200:
		parser = d.fromVLAN
	case 0x8863, 0x8864:
		parser = d.fromPPPoE
	case 0x8847, 0x8848:
		parser = d.fromMPLS
	default:
		return reasonNotIP
	}
	d.longest = max(d.longest, len(rec.data))
	d.parts.tunnel, d.room, d.vlan.path = 0, rec.wire-len(rec.data), uint32(rec.vlan)
	reason = d.layers(parser, data, rec, p)
	// A tunnel may be in parts and hold parts again.
	for depth := 0; depth < 4; depth++ {
		var whole []byte
		d.parts.vlan = d.vlan.path
		switch reason {
		case reasonFragment:
			whole, d.room = d.parts.add(d.ip4.Contents, d.ip4.Payload, d.absent(d.ip4.length, d.ip4.Payload), rec.nanos)
			parser = d.fromIP4
		case reasonFragment6:
			whole, d.room = d.parts.add6(d.ip6.Contents, d.fragment6(), d.absent(d.ip6.length, d.ip6.Payload), rec.nanos)
			parser = d.fromIP6
		}
		if whole == nil {
			break
		}
		reason = d.layers(parser, whole, rec, p)
	}
	return reason
}

// absent returns how much of a part was cut off, by its header: no more than the
// capture can have cut.
func (d *decoder) absent(declared int, payload []byte) int {
	return min(max(declared-len(payload), 0), d.room)
}

// layers decodes data, which begins with the parser's first layer.
func (d *decoder) layers(parser *gopacket.DecodingLayerParser, data []byte, rec *record, p *packet) string {
	d.found = d.found[:0]
	if err := parser.DecodeLayers(data, &d.found); err != nil {
		if isPanic(err) {
			return reasonPanic
		}
		return reasonMalformed
	}
	d.enter()
	return d.collect(rec, p)
}

// The kinds of tunnels whose ids have 24 bits, beside the id.
const (
	kindVXLAN  = 1 << 24
	kindGeneve = 2 << 24
)

// enter takes note of the innermost tunnel of the layers, which what is inside has in
// common, its parts too: several networks may have the same addresses.
func (d *decoder) enter() {
	for _, layer := range d.found {
		switch layer {
		case layers.LayerTypeVXLAN:
			d.parts.tunnel = d.vxlan.VNI | kindVXLAN
		case layers.LayerTypeGeneve:
			d.parts.tunnel = d.geneve.VNI | kindGeneve
		case layers.LayerTypeGRE:
			if d.gre.keyed {
				d.parts.tunnel = d.gre.key
			}
		}
	}
}

// fragment6 returns the fragment header that ended the layers, with what is
// behind it; nil if none did.
func (d *decoder) fragment6() []byte {
	switch d.found[len(d.found)-1] {
	case layers.LayerTypeIPv6:
		if d.ip6.NextLayerType() == layers.LayerTypeIPv6Fragment {
			return d.ip6.Payload
		}
	case layers.LayerTypeIPv6HopByHop, layers.LayerTypeIPv6Routing, layers.LayerTypeIPv6Destination:
		if d.ext.NextHeader == layers.IPProtocolIPv6Fragment {
			return d.ext.Payload
		}
	}
	return nil
}

// isPanic tells gopacket's caught panics from its ordinary errors.
func isPanic(err error) bool { return bytes.HasPrefix([]byte(err.Error()), []byte("panic: ")) }

// collect reads what the layers found into p.
func (d *decoder) collect(rec *record, p *packet) string {
	if len(d.found) == 0 {
		return reasonNotIP
	}
	if last := d.found[len(d.found)-1]; last != layers.LayerTypeTCP {
		return d.notTCP(last)
	}
	p.tunnel, p.vlan = d.parts.tunnel, d.vlan.path+1
	declared, carried, unsaid := 0, 0, false
	for _, layer := range d.found {
		switch layer {
		case layers.LayerTypeIPv4:
			p.src, p.dst = mapped(d.ip4.SrcIP), mapped(d.ip4.DstIP)
			declared, carried, unsaid = d.ip4.length, len(d.ip4.Payload), d.ip4.unsaid
		case layers.LayerTypeIPv6:
			copy(p.src[:16], d.ip6.SrcIP)
			copy(p.dst[:16], d.ip6.DstIP)
			declared, carried, unsaid = d.ip6.length, len(d.ip6.Payload), d.ip6.unsaid
		}
	}
	binary.BigEndian.PutUint16(p.src[16:], d.tcp.src)
	binary.BigEndian.PutUint16(p.dst[16:], d.tcp.dst)
	p.seq, p.ack = d.tcp.seq, d.tcp.ack
	p.payload = d.tcp.Payload
	missing := max(declared-carried, 0)
	if unsaid {
		missing = d.room
	}
	if missing > maxAhead {
		return reasonMalformed // a forged jumbogram
	}
	p.missing, p.doubtful = uint32(missing), missing > d.room
	if p.doubtful && len(rec.data) < d.longest {
		// Longer ones were not cut, so neither was this.
		return reasonLength
	}
	p.nanos = rec.nanos
	p.urgent, p.urgentAt = d.tcp.flags&wireURG != 0, int(d.tcp.urgent)-1
	p.flags = d.tcp.flags & (wireFIN | wireSYN | wireRST)
	if d.tcp.flags&wireACK != 0 {
		p.flags |= flagACK
	}
	return ""
}

// notTCP says why the layers end before TCP.
func (d *decoder) notTCP(last gopacket.LayerType) string {
	switch last {
	case layers.LayerTypeIPv4:
		if d.ip4.Flags&layers.IPv4MoreFragments != 0 || d.ip4.FragOffset != 0 {
			return reasonFragment
		}
		if d.ip4.Protocol == layers.IPProtocolESP {
			return reasonIPsec
		}
	case layers.LayerTypeIPv6:
		if d.ip6.NextHeader == layers.IPProtocolESP {
			return reasonIPsec
		}
	case layers.LayerTypeEthernet, layers.LayerTypeDot1Q:
		// Of the layer that was not read this time, what an earlier packet had still stands there.
		if last == layers.LayerTypeEthernet && d.eth.EthernetType == etherMACsec || last == layers.LayerTypeDot1Q && d.vlan.Type == etherMACsec {
			return reasonMACsec
		}
		return reasonNotIP
	case layers.LayerTypeGRE, layers.LayerTypeMPLS, layers.LayerTypePPPoE, layers.LayerTypePPP, layerVNTag, layerBackbone, layerNSH:
		return reasonNotIP
	case layers.LayerTypeUDP:
		if isQUIC(d.udp.Payload) {
			return reasonQUIC
		}
	}
	if d.fragment6() != nil {
		return reasonFragment6
	}
	return reasonNotTCP
}

// isQUIC reports whether a datagram is a long-header packet of QUIC version 1 or 2
// (RFC 9000 §17.2, RFC 9369), with which every connection begins.
func isQUIC(b []byte) bool {
	if len(b) < 7 || b[0]&0xc0 != 0xc0 || b[5] > 20 {
		return false
	}
	version := binary.BigEndian.Uint32(b[1:])
	return version == 1 || version == 0x6b3343cf
}

// mapped returns an IPv4 address as the 16 bytes of one of IPv6.
func mapped(ip []byte) (e endpoint) {
	if len(ip) == 4 {
		e[10], e[11] = 0xff, 0xff
		copy(e[12:], ip)
	}
	return e
}
