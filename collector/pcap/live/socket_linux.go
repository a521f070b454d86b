package live

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/scopedrift/scopedrift/collector/pcap"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Socket captures from a network interface. It is used by one goroutine.
type Socket struct {
	cfg  Config
	fd   int
	ring []byte
	link uint32

	// block is the one being read, left how many packets of it are, offset where
	// the next one is in the ring. taken says that the block is ours.
	block, left, offset int
	taken               bool

	freezes, packets, drops atomic.Uint64

	// index is that of the interface, downs how often it went down since Lost was
	// asked last.
	index int
	downs uint64
}

// blockBytes is how much the kernel hands over at a time, blockPatience after how
// many milliseconds it does so if that does not fill.
const (
	blockBytes    = 1 << 20
	blockPatience = 50
	defaultRing   = 64 << 20
)

// LINKTYPE_ numbers of what interfaces give.
const (
	linkEthernet = 1
	linkRaw      = 101
)

// New returns a Socket. It does nothing yet.
func New(cfg Config) *Socket {
	if cfg.RingBytes <= 0 {
		cfg.RingBytes = defaultRing
	}
	return &Socket{cfg: cfg, fd: -1}
}

// Open opens the socket, which needs CAP_NET_RAW. Packets are held from here on.
func (s *Socket) Open() (err error) {
	if s.fd >= 0 {
		return nil
	}
	itf, err := net.InterfaceByName(s.cfg.Interface)
	if err != nil {
		return fmt.Errorf("capture from %q: %w", s.cfg.Interface, ErrNoInterface)
	}
	if itf.Flags&net.FlagUp == 0 {
		return fmt.Errorf("capture from %s: the interface is down; `ip link set %s up` brings it up", itf.Name, itf.Name)
	}
	// Without a protocol nothing is captured until ring and filter stand.
	s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		s.fd = -1
		return fmt.Errorf("capture from %s: not permitted; give the program CAP_NET_RAW (setcap cap_net_raw+ep, or AmbientCapabilities in systemd)", itf.Name)
	}
	if err != nil {
		s.fd = -1
		return fmt.Errorf("capture from %s: open a packet socket: %w", itf.Name, err)
	}
	defer func() {
		if err != nil {
			_ = s.Close()
			err = fmt.Errorf("capture from %s: %w", itf.Name, err)
		}
	}()
	s.index = itf.Index
	l, err := s.kind(itf.Index)
	if err != nil {
		return err
	}
	if err = s.filter(l); err != nil {
		return err
	}
	if err = s.mapRing(); err != nil {
		return err
	}
	if s.cfg.Promiscuous {
		mreq := unix.PacketMreq{Ifindex: int32(itf.Index), Type: unix.PACKET_MR_PROMISC}
		if err = unix.SetsockoptPacketMreq(s.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq); err != nil {
			return fmt.Errorf("ask for promiscuous mode: %w", err)
		}
	}
	if err = unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: swapped(unix.ETH_P_ALL), Ifindex: itf.Index}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if s.cfg.Group != 0 {
		// Fragments are put together first, so that all of a connection is in one place.
		const mode = unix.PACKET_FANOUT_HASH | unix.PACKET_FANOUT_FLAG_DEFRAG
		if err = unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, int(s.cfg.Group)|mode<<16); err != nil {
			return fmt.Errorf("share the interface in group %d: %w", s.cfg.Group, err)
		}
	}
	return nil
}

// swapped returns a number in network order.
func swapped(n uint16) uint16 { return n<<8 | n>>8 }

// kind learns what stands before the IP header of the interface's packets.
func (s *Socket) kind(index int) (l link, err error) {
	if err := unix.Bind(s.fd, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		return l, fmt.Errorf("bind: %w", err)
	}
	name, err := unix.Getsockname(s.fd)
	if err != nil {
		return l, fmt.Errorf("ask for the kind of interface: %w", err)
	}
	address, _ := name.(*unix.SockaddrLinklayer)
	if address == nil {
		return l, errors.New("the kernel does not say what kind of interface it is; capture with tcpdump instead")
	}
	s.link = linkEthernet
	switch address.Hatype {
	case unix.ARPHRD_ETHER:
	case unix.ARPHRD_LOOPBACK:
		l.loopback = true
	case unix.ARPHRD_NONE, unix.ARPHRD_PPP, unix.ARPHRD_TUNNEL, unix.ARPHRD_TUNNEL6, unix.ARPHRD_SIT, unix.ARPHRD_IPGRE, unix.ARPHRD_RAWIP:
		l.raw, s.link = true, linkRaw
	default:
		return l, fmt.Errorf("interfaces of kind %d are not read; capture on an Ethernet, loopback or tunnel interface", address.Hatype)
	}
	return l, nil
}

// filter attaches the program.
func (s *Socket) filter(l link) error {
	program, err := compile(s.cfg.Filter, l)
	if err != nil || program == nil {
		return err
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return fmt.Errorf("assemble the filter: %w", err)
	}
	filters := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filters[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	err = unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]})
	if err != nil {
		return fmt.Errorf("attach the filter: %w", err)
	}
	return nil
}

// mapRing makes the ring and maps it.
func (s *Socket) mapRing() error {
	if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("ask for TPACKET_V3: %w", err)
	}
	blocks := max(2, s.cfg.RingBytes/blockBytes)
	const frameBytes = 2048
	req := unix.TpacketReq3{
		Block_size: blockBytes, Block_nr: uint32(blocks), Frame_size: frameBytes, Frame_nr: uint32(blocks * (blockBytes / frameBytes)),
		Retire_blk_tov: blockPatience,
	}
	if err := unix.SetsockoptTpacketReq3(s.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("make a ring of %d MiB: %w; a smaller one may fit the memory limit", blocks*blockBytes>>20, err)
	}
	ring, err := unix.Mmap(s.fd, 0, blocks*blockBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map the ring: %w", err)
	}
	s.ring = ring
	return nil
}

// Close gives ring and socket back.
func (s *Socket) Close() error {
	if s.ring != nil {
		_ = unix.Munmap(s.ring)
		s.ring = nil
	}
	if s.fd < 0 {
		return nil
	}
	fd := s.fd
	s.fd, s.taken, s.left, s.block = -1, false, 0, 0
	return unix.Close(fd)
}

// Where things stand in a block's head (struct tpacket_block_desc).
const (
	blockStatus = 8
	blockCount  = 12
	blockFirst  = 16
)

// status is the word by which kernel and reader hand a block over.
func (s *Socket) status() *uint32 {
	return (*uint32)(unsafe.Pointer(&s.ring[s.block*blockBytes+blockStatus]))
}

func (s *Socket) word(at int) int { return int(*(*uint32)(unsafe.Pointer(&s.ring[at]))) }

var errRing = errors.New("the kernel's ring holds a packet that does not fit; this is a fault of the program, please report it")

// Next returns the next packet. See pcap.Source. It opens the socket if that was
// not done. When ctx ends, Next returns its error once idle was called.
func (s *Socket) Next(ctx context.Context, p *pcap.Packet, idle func() error) error {
	if s.fd < 0 {
		if err := s.Open(); err != nil {
			return err
		}
	}
	for s.left == 0 {
		if s.taken {
			// The last packet of the block was in use until now.
			atomic.StoreUint32(s.status(), unix.TP_STATUS_KERNEL)
			s.taken = false
			s.block = (s.block + 1) % (len(s.ring) / blockBytes)
		}
		if atomic.LoadUint32(s.status())&unix.TP_STATUS_USER == 0 {
			if err := s.wait(ctx, idle); err != nil {
				return err
			}
			continue
		}
		begin := s.block * blockBytes
		s.taken, s.left, s.offset = true, s.word(begin+blockCount), begin+s.word(begin+blockFirst)
	}
	end := (s.block + 1) * blockBytes
	if s.offset+int(unsafe.Sizeof(unix.Tpacket3Hdr{})) > end {
		return errRing
	}
	h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&s.ring[s.offset]))
	from := s.offset + int(h.Mac)
	if from+int(h.Snaplen) > end {
		return errRing
	}
	p.Data = s.ring[from : from+int(h.Snaplen) : from+int(h.Snaplen)]
	p.Link, p.Length, p.Nanos = s.link, int(h.Len), int64(h.Sec)*1e9+int64(h.Nsec)
	// The kernel takes the outermost tag out of the packet.
	if p.VLAN = 0; h.Status&unix.TP_STATUS_VLAN_VALID != 0 {
		p.VLAN = uint16(h.Hv1.Vlan_tci & 0xfff)
	}
	s.offset += int(h.Next_offset)
	s.left--
	return nil
}

// wait waits until the kernel hands a block over, or half a second.
func (s *Socket) wait(ctx context.Context, idle func() error) error {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN | unix.POLLERR}}
	n, err := unix.Poll(fds, int(500*time.Millisecond/time.Millisecond))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("capture from %s: wait for packets: %w", s.cfg.Interface, err)
	}
	if n > 0 && fds[0].Revents&unix.POLLERR != 0 {
		if code, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && code != 0 {
			// One that is down may come up again, and then the kernel goes on by itself.
			if itf, err := net.InterfaceByName(s.cfg.Interface); unix.Errno(code) != unix.ENETDOWN || err != nil || itf.Index != s.index {
				return fmt.Errorf("capture from %s: %w; the interface went away, start again once it is there", s.cfg.Interface, unix.Errno(code))
			}
			s.downs++
		}
	}
	// Whenever the ring is empty: where few packets come, but some always, what they
	// complete must not wait for many.
	if err := idle(); err != nil {
		return err
	}
	return ctx.Err()
}

// Lost returns how many packets the kernel had no room for since it was asked
// last.
func (s *Socket) Lost() map[string]uint64 {
	if s.fd < 0 {
		return nil
	}
	stats, err := unix.GetsockoptTpacketStatsV3(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return nil
	}
	s.packets.Add(uint64(stats.Packets))
	s.drops.Add(uint64(stats.Drops))
	s.freezes.Add(uint64(stats.Freeze_q_cnt))
	lost := map[string]uint64{}
	if stats.Drops > 0 {
		lost[LostInKernel] = uint64(stats.Drops)
	}
	if s.downs > 0 {
		lost[LostWhileDown], s.downs = s.downs, 0
	}
	return lost
}

// Totals returns, as of the last call of Lost, how many packets passed the
// filter, how many of them the kernel dropped, and how often it stopped because
// the ring was full. It may be called from any goroutine.
func (s *Socket) Totals() (packets, drops, freezes uint64) {
	return s.packets.Load(), s.drops.Load(), s.freezes.Load()
}
