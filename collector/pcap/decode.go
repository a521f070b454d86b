package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// This file and ip.go are the only ones that know gopacket. Just the layers below are
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
	tunnel   uint32
	seq, ack uint32
	flags    uint8
	payload  []byte
	// missing is how many bytes of payload the capture cut off at its end.
	missing uint32
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
	reasonMalformed = "malformed_packet"
	reasonPanic     = "decoder_panic"
	reasonTooLong   = "packet_too_long"
)

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
	eth    layers.Ethernet
	vlan   layers.Dot1Q
	ip4    ip4Layer
	ip6    ip6Layer
	ext    extensionLayer
	udp    layers.UDP
	tcp    layers.TCP
	vxlan  layers.VXLAN
	geneve geneveLayer
	gre    layers.GRE
	erspan layers.ERSPANII
	mpls   mplsLayer
	parts  defragmenter

	fromEthernet, fromVLAN, fromIP4, fromIP6, fromMPLS *gopacket.DecodingLayerParser

	found []gopacket.LayerType
}

func newDecoder() *decoder {
	d := &decoder{found: make([]gopacket.LayerType, 0, 16)}
	all := []gopacket.DecodingLayer{
		&d.eth, &d.vlan, &d.ip4, &d.ip6, &d.ext, &d.udp, &d.tcp, &d.vxlan, &d.geneve, &d.gre, &d.erspan, &d.mpls,
	}
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
	case 0x8100, 0x88a8, 0x9100:
		parser = d.fromVLAN
	case 0x8847, 0x8848:
		parser = d.fromMPLS
	default:
		return reasonNotIP
	}
	d.parts.tunnel = 0
	reason = d.layers(parser, data, rec, p)
	// A tunnel may be in parts and hold parts again.
	for depth := 0; depth < 4; depth++ {
		var whole []byte
		switch reason {
		case reasonFragment:
			whole, parser = d.parts.add(d.ip4.Contents, d.ip4.Payload, rec.nanos), d.fromIP4
		case reasonFragment6:
			whole, parser = d.parts.add6(d.ip6.Contents, d.fragment6(), rec.nanos), d.fromIP6
		}
		if whole == nil {
			break
		}
		reason = d.layers(parser, whole, rec, p)
	}
	return reason
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

// enter takes note of the innermost tunnel of the layers, which what is inside has in
// common, its parts too: several networks may have the same addresses.
func (d *decoder) enter() {
	for _, layer := range d.found {
		switch layer {
		case layers.LayerTypeVXLAN:
			d.parts.tunnel = d.vxlan.VNI
		case layers.LayerTypeGeneve:
			d.parts.tunnel = d.geneve.VNI
		case layers.LayerTypeGRE:
			if d.gre.KeyPresent {
				d.parts.tunnel = d.gre.Key
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
	p.tunnel = d.parts.tunnel
	declared, carried := 0, 0
	for _, layer := range d.found {
		switch layer {
		case layers.LayerTypeIPv4:
			p.src, p.dst = mapped(d.ip4.SrcIP), mapped(d.ip4.DstIP)
			declared, carried = d.ip4.length, len(d.ip4.Payload)
		case layers.LayerTypeIPv6:
			copy(p.src[:16], d.ip6.SrcIP)
			copy(p.dst[:16], d.ip6.DstIP)
			declared, carried = d.ip6.length, len(d.ip6.Payload)
		}
	}
	binary.BigEndian.PutUint16(p.src[16:], uint16(d.tcp.SrcPort))
	binary.BigEndian.PutUint16(p.dst[16:], uint16(d.tcp.DstPort))
	p.seq, p.ack = d.tcp.Seq, d.tcp.Ack
	p.payload = d.tcp.Payload
	p.missing = uint32(max(declared-carried, 0))
	p.nanos = rec.nanos
	p.urgent, p.urgentAt = d.tcp.URG, int(d.tcp.Urgent)-1
	p.flags = 0
	for _, f := range [...]struct {
		set bool
		bit uint8
	}{{d.tcp.FIN, flagFIN}, {d.tcp.SYN, flagSYN}, {d.tcp.RST, flagRST}, {d.tcp.ACK, flagACK}} {
		if f.set {
			p.flags |= f.bit
		}
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
	case layers.LayerTypeEthernet, layers.LayerTypeDot1Q, layers.LayerTypeGRE, layers.LayerTypeMPLS:
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

func mapped(ip []byte) (e endpoint) {
	if len(ip) == 4 {
		e[10], e[11] = 0xff, 0xff
		copy(e[12:], ip)
	}
	return e
}

// The link types that are read, by their published LINKTYPE_ numbers.
const (
	linkNull      linkType = 0
	linkEthernet  linkType = 1
	linkPPP       linkType = 9
	linkRawBSD    linkType = 12
	linkRawBSD2   linkType = 14
	linkPPPSerial linkType = 50
	linkRaw       linkType = 101
	link80211     linkType = 105
	linkLoop      linkType = 108
	linkSLL       linkType = 113
	linkRadiotap  linkType = 127
	linkIPv4      linkType = 228
	linkIPv6      linkType = 229
	linkNFLog     linkType = 239
	linkSLL2      linkType = 276
)

func (l linkType) String() string {
	switch l {
	case linkNull, linkLoop:
		return "null/loopback"
	case linkEthernet:
		return "ethernet"
	case linkPPP, linkPPPSerial:
		return "ppp"
	case linkRaw, linkRawBSD, linkRawBSD2, linkIPv4, linkIPv6:
		return "raw-ip"
	case link80211, linkRadiotap:
		return "wireless"
	case linkSLL, linkSLL2:
		return "linux-sll"
	case linkNFLog:
		return "nflog"
	}
	return fmt.Sprintf("linktype-%d", uint32(l))
}

// frameEthernet marks a whole Ethernet frame; other kinds are Ethernet types.
const frameEthernet = 0

// unwrap removes the link header of everything but Ethernet, which gopacket
// reads. It returns the rest and its Ethernet type, or a reason.
func unwrap(rec *record) (data []byte, kind uint16, reason string) {
	b := rec.data
	switch rec.link {
	case linkEthernet:
		return b, frameEthernet, ""
	case linkRaw, linkRawBSD, linkRawBSD2, linkIPv4, linkIPv6:
		return byVersion(b)
	case linkNull, linkLoop:
		// The family number differs by operating system; the version does not.
		return byVersion(b[min(4, len(b)):])
	case linkSLL:
		if len(b) < 16 {
			return nil, 0, reasonMalformed
		}
		return b[16:], binary.BigEndian.Uint16(b[14:]), ""
	case linkSLL2:
		if len(b) < 20 {
			return nil, 0, reasonMalformed
		}
		return b[20:], binary.BigEndian.Uint16(b), ""
	case linkPPP, linkPPPSerial:
		return unwrapPPP(b)
	case linkNFLog:
		return unwrapNFLog(b)
	case linkRadiotap:
		if len(b) < 4 || int(binary.LittleEndian.Uint16(b[2:])) > len(b) {
			return nil, 0, reasonMalformed
		}
		return unwrap80211(b[binary.LittleEndian.Uint16(b[2:]):])
	case link80211:
		return unwrap80211(b)
	}
	return nil, 0, reasonLink
}

func byVersion(b []byte) ([]byte, uint16, string) {
	if len(b) == 0 {
		return nil, 0, reasonMalformed
	}
	switch b[0] >> 4 {
	case 4:
		return b, 0x0800, ""
	case 6:
		return b, 0x86dd, ""
	}
	return nil, 0, reasonNotIP
}

func unwrapPPP(b []byte) ([]byte, uint16, string) {
	if len(b) >= 2 && b[0] == 0xff && b[1] == 0x03 {
		b = b[2:]
	}
	switch {
	case len(b) >= 2 && b[0] == 0 && (b[1] == 0x21 || b[1] == 0x57):
		return byVersion(b[2:])
	case len(b) >= 1 && (b[0] == 0x21 || b[0] == 0x57):
		// The protocol field may be compressed to one byte.
		return byVersion(b[1:])
	}
	return nil, 0, reasonNotIP
}

// unwrapNFLog looks for the payload among the attributes of a netfilter log
// message, which are in the byte order of the host: little-endian nearly always.
func unwrapNFLog(b []byte) ([]byte, uint16, string) {
	if len(b) < 4 {
		return nil, 0, reasonMalformed
	}
	for b = b[4:]; len(b) >= 4; {
		size, kind := int(binary.LittleEndian.Uint16(b)), binary.LittleEndian.Uint16(b[2:])
		if size < 4 || size > len(b) {
			break
		}
		if kind&0x7fff == 9 {
			return byVersion(b[4:size])
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return nil, 0, reasonMalformed
}

// unwrap80211 reads the data frames of a wireless capture that are in clear
// text: header, optional fourth address and QoS field, LLC and SNAP.
func unwrap80211(b []byte) ([]byte, uint16, string) {
	if len(b) < 24 {
		return nil, 0, reasonMalformed
	}
	if b[0]&0x0c != 0x08 || b[0]&0x40 != 0 {
		return nil, 0, reasonNotIP // management, control, or data without data
	}
	if b[1]&0x40 != 0 {
		return nil, 0, reasonEncrypted
	}
	head := 24
	if b[1]&0x03 == 0x03 {
		head += 6
	}
	if b[0]&0x80 != 0 {
		head += 2
		if b[1]&0x80 != 0 {
			head += 4
		}
	}
	if len(b) < head+8 || b[head] != 0xaa || b[head+1] != 0xaa {
		return nil, 0, reasonNotIP
	}
	return b[head+8:], binary.BigEndian.Uint16(b[head+6:]), ""
}
