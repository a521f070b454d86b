package pcap

import (
	"encoding/binary"
	"errors"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Tags and tunnels that gopacket does not know, or reads in a way that does not do
// here: with allocations, or only where nothing was cut off.

// The layers that gopacket has no name for, numbered beside its own.
const (
	layerVNTag gopacket.LayerType = 1500 + iota
	layerBackbone
	layerNSH
	layerGPE
	layerL2TP
	layerTZSP
)

// byEtherType returns the layer of an Ethernet type.
func byEtherType(t layers.EthernetType) gopacket.LayerType {
	switch t {
	case 0x9100, 0x9200:
		return layers.LayerTypeDot1Q // before 802.1ad
	case 0x8926:
		return layerVNTag
	case 0x88e7:
		return layerBackbone
	case 0x894f:
		return layerNSH
	case 0x22eb:
		return layers.LayerTypeERSPANII // the third type of it
	}
	return t.LayerType()
}

// The protocol numbers of NSH and of VXLAN-GPE (RFC 8300 §2.2).
func byNextProtocol(n byte) gopacket.LayerType {
	switch n {
	case 1:
		return layers.LayerTypeIPv4
	case 2:
		return layers.LayerTypeIPv6
	case 3:
		return layers.LayerTypeEthernet
	case 4:
		return layerNSH
	case 5:
		return layers.LayerTypeMPLS
	}
	return gopacket.LayerTypePayload
}

type ethernetLayer struct{ layers.Ethernet }

func (e *ethernetLayer) NextLayerType() gopacket.LayerType { return byEtherType(e.EthernetType) }

// vlanLayer is gopacket's VLAN tag.
type vlanLayer struct {
	layers.Dot1Q
	// path is a number of all the tags that were met, 0 for none.
	path uint32
}

func (v *vlanLayer) DecodeFromBytes(data []byte, df gopacket.DecodeFeedback) error {
	err := v.Dot1Q.DecodeFromBytes(data, df)
	if err == nil && v.VLANIdentifier != 0 { // else it tells a priority only
		v.path = v.path<<12 | uint32(v.VLANIdentifier)
	}
	return err
}

func (v *vlanLayer) NextLayerType() gopacket.LayerType { return byEtherType(v.Type) }

// greLayer reads GRE (RFC 2784, 2890) and that of PPTP (RFC 2637).
type greLayer struct {
	layers.BaseLayer
	protocol layers.EthernetType
	key      uint32
	// keyed says that there is a key, numbered a sequence number.
	keyed, numbered bool
}

func (g *greLayer) DecodeFromBytes(data []byte, _ gopacket.DecodeFeedback) error {
	if len(data) < 4 {
		return errHead
	}
	flags, size := data[0], 4
	g.protocol = layers.EthernetType(binary.BigEndian.Uint16(data[2:]))
	g.keyed, g.numbered = flags&0x20 != 0, flags&0x10 != 0
	if flags&0xc0 != 0 {
		size += 4 // checksum and offset
	}
	if g.keyed {
		if size += 4; size > len(data) {
			return errHead
		}
		if g.key = binary.BigEndian.Uint32(data[size-4:]); data[1]&7 == 1 {
			g.key = 0 // length and number of the call, which differ by direction
		}
	}
	if g.numbered {
		size += 4
	}
	if data[1]&0x80 != 0 && data[1]&7 == 1 {
		size += 4 // acknowledged
	}
	for route := flags&0x40 != 0; route; { // source routes end with an empty one
		if size+4 > len(data) {
			return errHead
		}
		route = binary.BigEndian.Uint16(data[size:]) != 0 || data[size+3] != 0
		size += 4 + int(data[size+3])
	}
	if size > len(data) {
		return errHead
	}
	g.Contents, g.Payload = data[:size], data[size:]
	return nil
}

func (*greLayer) CanDecode() gopacket.LayerClass      { return layers.LayerTypeGRE }
func (g *greLayer) NextLayerType() gopacket.LayerType { return byEtherType(g.protocol) }

// udpLayer knows more ports of tunnels than gopacket.
type udpLayer struct{ layers.UDP }

func (u *udpLayer) NextLayerType() gopacket.LayerType {
	switch u.DstPort {
	case 8472: // what Linux used before a port was assigned, and overlays of clusters still do
		return layers.LayerTypeVXLAN
	case 4790:
		return layerGPE
	case 1701:
		return layerL2TP
	case 6635:
		return layers.LayerTypeMPLS
	case 37008:
		return layerTZSP
	}
	return u.UDP.NextLayerType()
}

// headLayer is a header to be stepped over: how long it is, and what follows, says read.
type headLayer struct {
	layers.BaseLayer
	kind gopacket.LayerType
	read func(b []byte) (size int, next gopacket.LayerType)
	next gopacket.LayerType
}

var errHead = errors.New("the header of a tunnel is cut or says what cannot be")

func (h *headLayer) DecodeFromBytes(data []byte, _ gopacket.DecodeFeedback) error {
	size, next := h.read(data)
	if size <= 0 || size > len(data) {
		return errHead
	}
	h.Contents, h.Payload, h.next = data[:size], data[size:], next
	return nil
}

func (h *headLayer) CanDecode() gopacket.LayerClass    { return h.kind }
func (h *headLayer) NextLayerType() gopacket.LayerType { return h.next }

// heads are the headers that need no more than to be stepped over.
func (d *decoder) heads() []gopacket.DecodingLayer {
	// each reads at least so many bytes.
	head := func(kind gopacket.LayerType, least int, read func(b []byte) (int, gopacket.LayerType)) gopacket.DecodingLayer {
		return &headLayer{kind: kind, read: func(b []byte) (int, gopacket.LayerType) {
			if len(b) < least {
				return 0, 0
			}
			return read(b)
		}}
	}
	return []gopacket.DecodingLayer{
		head(layerVNTag, 6, func(b []byte) (int, gopacket.LayerType) {
			return 6, byEtherType(layers.EthernetType(binary.BigEndian.Uint16(b[4:])))
		}),
		head(layerBackbone, 4, func([]byte) (int, gopacket.LayerType) { return 4, layers.LayerTypeEthernet }),
		head(layerNSH, 8, func(b []byte) (int, gopacket.LayerType) { return 4 * int(b[1]&0x3f), byNextProtocol(b[3]) }),
		head(layerGPE, 8, func(b []byte) (int, gopacket.LayerType) {
			if b[0]&4 == 0 {
				return 8, layers.LayerTypeEthernet
			}
			return 8, byNextProtocol(b[3])
		}),
		head(layers.LayerTypePPPoE, 6, func(b []byte) (int, gopacket.LayerType) {
			if b[1] != 0 {
				return 6, gopacket.LayerTypePayload // discovery
			}
			return 6, layers.LayerTypePPP
		}),
		head(layers.LayerTypePPP, 2, readPPP),
		head(layerL2TP, 6, readL2TP),
		head(layers.LayerTypeGTPv1U, 8, readGTP),
		head(layers.LayerTypeERSPANII, 8, d.readERSPAN),
		head(layerTZSP, 5, readTZSP),
		head(layers.LayerTypeIPSecAH, 12, func(b []byte) (int, gopacket.LayerType) {
			return 4 * (int(b[1]) + 2), layers.IPProtocol(b[0]).LayerType()
		}),
		head(layers.LayerTypeEtherIP, 2, func([]byte) (int, gopacket.LayerType) { return 2, layers.LayerTypeEthernet }),
	}
}

// readPPP reads the protocol of a PPP frame, which may be compressed to one byte.
func readPPP(b []byte) (int, gopacket.LayerType) {
	at := 0
	if b[0] == 0xff && b[1] == 0x03 {
		at = 2
	}
	if len(b) < at+2 {
		return 0, 0
	}
	protocol, size := binary.BigEndian.Uint16(b[at:]), 2
	if b[at]&1 == 1 {
		protocol, size = uint16(b[at]), 1
	}
	switch protocol {
	case 0x21:
		return at + size, layers.LayerTypeIPv4
	case 0x57:
		return at + size, layers.LayerTypeIPv6
	case 0x281:
		return at + size, layers.LayerTypeMPLS
	}
	return at + size, gopacket.LayerTypePayload
}

// readL2TP reads the header of a data message of L2TP version 2 (RFC 2661 §3.1).
func readL2TP(b []byte) (int, gopacket.LayerType) {
	flags := b[0]
	if flags&0x80 != 0 || b[1]&15 != 2 {
		return len(b), gopacket.LayerTypePayload // control, or version 3
	}
	size := 6
	if flags&0x40 != 0 {
		size += 2
	}
	if flags&0x08 != 0 {
		size += 4
	}
	if flags&0x02 != 0 {
		if size+2 > len(b) {
			return 0, 0
		}
		size += 2 + int(binary.BigEndian.Uint16(b[size:]))
	}
	return size, layers.LayerTypePPP
}

// readGTP reads the header of user data of GTP version 1 (3GPP TS 29.281 §5), as core
// networks of mobile carriers have it. Its tunnel ids differ by direction.
func readGTP(b []byte) (int, gopacket.LayerType) {
	if b[0]>>4 != 3 || b[1] != 255 {
		return len(b), gopacket.LayerTypePayload // another version, or no user data
	}
	size := 8
	if b[0]&7 != 0 {
		if size += 4; size > len(b) {
			return 0, 0
		}
		for next := b[size-1]; b[0]&4 != 0 && next != 0; next = b[size-1] {
			if size >= len(b) || b[size] == 0 {
				return 0, 0
			}
			if size += 4 * int(b[size]); size > len(b) {
				return 0, 0
			}
		}
	}
	if size == len(b) {
		return size, gopacket.LayerTypePayload
	}
	switch b[size] >> 4 {
	case 4:
		return size, layers.LayerTypeIPv4
	case 6:
		return size, layers.LayerTypeIPv6
	}
	return size, gopacket.LayerTypePayload
}

// readERSPAN reads the header of a mirrored frame in GRE. The first type has none, and
// GRE no numbers; the third may be followed by eight bytes of its platform.
func (d *decoder) readERSPAN(b []byte) (int, gopacket.LayerType) {
	switch {
	case d.gre.protocol != 0x22eb && !d.gre.numbered:
		// There is no header. A layer cannot be of no size: the frame's is read here.
		if len(b) < 14 {
			return 0, 0
		}
		return 14, byEtherType(layers.EthernetType(binary.BigEndian.Uint16(b[12:])))
	case d.gre.protocol != 0x22eb:
		return 8, layers.LayerTypeEthernet
	case len(b) < 12:
		return 0, 0
	}
	size, next := 12, layers.LayerTypeEthernet
	if b[11]&1 != 0 {
		size += 8
	}
	if b[10]>>2&31 == 2 {
		next = gopacket.LayerTypePayload
		if size < len(b) && b[size]>>4 == 4 {
			next = layers.LayerTypeIPv4
		} else if size < len(b) && b[size]>>4 == 6 {
			next = layers.LayerTypeIPv6
		}
	}
	return size, next
}

// readTZSP reads the header of a frame that a router sends on, and its fields.
func readTZSP(b []byte) (int, gopacket.LayerType) {
	if b[0] != 1 || b[1] > 1 || binary.BigEndian.Uint16(b[2:]) != 1 {
		return len(b), gopacket.LayerTypePayload // no received packet of Ethernet
	}
	for at := 4; at < len(b); {
		switch {
		case b[at] == 1:
			return at + 1, layers.LayerTypeEthernet
		case b[at] == 0:
			at++
		case at+1 < len(b):
			at += 2 + int(b[at+1])
		default:
			return 0, 0
		}
	}
	return 0, 0
}
