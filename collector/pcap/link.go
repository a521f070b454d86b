package pcap

import (
	"encoding/binary"
	"fmt"
)

// The link types that are read, by their published LINKTYPE_ numbers.
const (
	linkNull      linkType = 0
	linkEthernet  linkType = 1
	linkPPP       linkType = 9
	linkRawBSD    linkType = 12
	linkRawBSD2   linkType = 14
	linkPPPSerial linkType = 50
	linkPPPEther  linkType = 51
	linkLLCSNAP   linkType = 100
	linkRaw       linkType = 101
	linkHDLC      linkType = 104
	link80211     linkType = 105
	linkLoop      linkType = 108
	linkEnc       linkType = 109
	linkSLL       linkType = 113
	linkPFLog     linkType = 117
	linkPrism     linkType = 119
	linkRadiotap  linkType = 127
	linkPKTAPOld  linkType = 149
	linkAVS       linkType = 163
	linkPPI       linkType = 192
	linkPPPDir    linkType = 204
	linkMPLS      linkType = 219
	linkIPNet     linkType = 226
	linkIPv4      linkType = 228
	linkIPv6      linkType = 229
	linkNFLog     linkType = 239
	linkPKTAP     linkType = 258
	linkMPacket   linkType = 274
	linkSLL2      linkType = 276
)

func (l linkType) String() string {
	switch l {
	case linkNull, linkLoop:
		return "null/loopback"
	case linkEthernet:
		return "ethernet"
	case linkPPP, linkPPPSerial, linkPPPEther, linkPPPDir, linkHDLC:
		return "ppp"
	case linkPFLog, linkEnc, linkIPNet:
		return "firewall-log"
	case linkPKTAP, linkPKTAPOld:
		return "pktap"
	case linkMPLS:
		return "mpls"
	case linkMPacket:
		return "ethernet"
	case linkLLCSNAP:
		return "llc-snap"
	case linkRaw, linkRawBSD, linkRawBSD2, linkIPv4, linkIPv6:
		return "raw-ip"
	case link80211, linkRadiotap, linkPrism, linkAVS, linkPPI:
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
	link, b := rec.link, rec.data
	for range 2 { // one header may name another
		size := 0
		switch link {
		case linkPKTAP, linkPKTAPOld:
			// How long it is, what kind of record (1 is a packet), and the link type.
			if len(b) < 12 || binary.LittleEndian.Uint32(b[4:]) != 1 {
				return nil, 0, reasonNotIP
			}
			size, link = int(binary.LittleEndian.Uint32(b)), fromDLT(binary.LittleEndian.Uint32(b[8:]))
		case linkPPI:
			if len(b) < 8 {
				return nil, 0, reasonMalformed
			}
			size, link = int(binary.LittleEndian.Uint16(b[2:])), fromDLT(binary.LittleEndian.Uint32(b[4:]))
		default:
			continue
		}
		if size < 8 || size > len(b) {
			return nil, 0, reasonMalformed
		}
		b = b[size:]
	}
	return unwrapLink(link, b)
}

// fromDLT turns the number that a system has for a link type into that of files.
func fromDLT(n uint32) linkType {
	switch n {
	case 12, 14:
		return linkRaw
	case 13, 109:
		return linkEnc
	case 11:
		return linkLLCSNAP
	case 18, 121:
		return linkHDLC
	}
	return linkType(n)
}

// unwrapLink removes the link header of a packet of a link type.
func unwrapLink(link linkType, b []byte) (data []byte, kind uint16, reason string) {
	switch link {
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
	case linkPPP:
		return unwrapPPP(b)
	case linkPPPSerial, linkHDLC:
		// Either may be captured as the other, and says what it is.
		if len(b) >= 4 && (b[0] == 0x0f || b[0] == 0x8f) && b[1] == 0 {
			return b[4:], binary.BigEndian.Uint16(b[2:]), ""
		}
		return unwrapPPP(b)
	case linkPPPDir:
		return unwrapPPP(b[min(1, len(b)):])
	case linkPPPEther:
		return b, 0x8864, ""
	case linkMPLS:
		return b, 0x8847, ""
	case linkMPacket:
		return b[min(8, len(b)):], frameEthernet, ""
	case linkLLCSNAP:
		if len(b) < 8 || b[0] != 0xaa || b[1] != 0xaa {
			return nil, 0, reasonNotIP
		}
		return b[8:], binary.BigEndian.Uint16(b[6:]), ""
	case linkEnc:
		return byVersion(b[min(12, len(b)):])
	case linkIPNet:
		return byVersion(b[min(24, len(b)):])
	case linkPFLog:
		// The header says how long it is, without what fills it up.
		if len(b) < 4 || int(b[0]) > len(b) {
			return nil, 0, reasonMalformed
		}
		return byVersion(b[min((int(b[0])+3)&^3, len(b)):])
	case linkPrism, linkAVS:
		// Both have their length behind four bytes; the one in the order of the host.
		if len(b) < 8 {
			return nil, 0, reasonMalformed
		}
		size := binary.BigEndian.Uint32(b[4:])
		if size > 1<<16 {
			size = binary.LittleEndian.Uint32(b[4:])
		}
		if size < 8 || int64(size) > int64(len(b)) {
			return nil, 0, reasonMalformed
		}
		return unwrap80211(b[size:])
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
