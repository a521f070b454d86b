// Package live captures packets from a network interface of Linux.
//
// [New] makes a [Socket], which is a source for pcap.Capture.Watch; [Compile]
// checks a filter beforehand. The socket is a ring of memory that kernel and
// reader share (TPACKET_V3), without cgo. It needs CAP_NET_RAW and nothing else;
// once [Socket.Open] returned, that is not needed any more, and [DropRights] gives
// it up. Where one core is too little, sockets with one [Config].Group share an
// interface.
//
// It promises that every packet that the kernel had no room for is counted and
// reported, that an interface is not put into promiscuous mode unless asked, and
// that nothing is ever sent.
//
// It cannot see what the interface drops itself, nor what was on the wire before
// a network card merged or cut it: large packets made by offloading are read as
// they are. A filter looks at the outermost addresses: of a tunnel, at its ends.
package live

import "errors"

// ErrNoInterface says that the interface does not exist.
var ErrNoInterface = errors.New("no such interface")

// Config is what a Socket needs to know.
type Config struct {
	// Interface is the name of the network interface, such as eth0 or lo.
	Interface string
	// Filter says which packets to take, see [Compile]. Empty takes all.
	Filter string
	// Promiscuous asks the interface for packets that are not for this machine,
	// as a mirror port sends them.
	Promiscuous bool
	// RingBytes is the size of the ring (64 MiB): what the kernel holds while the
	// reader is busy.
	RingBytes int
	// Group, if it is not 0, is a number that several sockets on one interface
	// share: each connection then goes to one of them, both directions alike. Of
	// tunnels the kernel looks at the outer addresses, so one whose directions have
	// different ports outside must not be captured so; and of IPv6 it does not put
	// fragments together first, so they may miss their connection.
	Group uint16
}

// LostInKernel is the reason under which a Socket reports packets for which the
// ring had no room.
const LostInKernel = "kernel_drops"

// LostWhileDown is the reason under which a Socket reports how often the interface
// went down, after which nothing is seen until it is up again.
const LostWhileDown = "interface_down"
