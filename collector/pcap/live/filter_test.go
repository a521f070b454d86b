package live

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// packet makes up a frame with an Ethernet header.
func packet(proto byte, src, dst string) []byte {
	from, to := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	b := make([]byte, 12)
	if from.Addr().Is4() {
		ip := make([]byte, 24)
		ip[0], ip[9] = 0x46, proto // with options
		copy(ip[12:], from.Addr().AsSlice())
		copy(ip[16:], to.Addr().AsSlice())
		b = append(append(b, 8, 0), ip...)
	} else {
		ip := make([]byte, 40)
		ip[0], ip[6] = 0x60, proto
		copy(ip[8:], from.Addr().AsSlice())
		copy(ip[24:], to.Addr().AsSlice())
		b = append(append(b, 0x86, 0xdd), ip...)
	}
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, from.Port()), to.Port())
	return append(b, make([]byte, 16)...)
}

func TestFilters(t *testing.T) {
	web := packet(6, "10.0.0.7:40000", "192.0.2.9:8080")
	back := packet(6, "192.0.2.9:8080", "10.0.0.7:40000")
	six := packet(6, "[2001:db8::1]:40000", "[2001:db8:1::2]:8443")
	dns := packet(17, "10.0.0.7:5353", "10.1.0.1:53")
	fragment := packet(6, "10.0.0.7:0", "192.0.2.9:0")
	fragment[14+7] = 9
	arp := append(append(make([]byte, 12), 8, 6), make([]byte, 40)...)
	names := map[string][]byte{"web": web, "back": back, "six": six, "dns": dns, "fragment": fragment, "arp": arp}
	for _, c := range []struct{ filter, want string }{
		{"tcp", "web back six fragment"},
		{"udp", "dns"},
		{"ip6", "six"},
		{"ip", "web back dns fragment"},
		{"port 8080", "web back fragment"},
		{"dst port 8080", "web fragment"},
		{"tcp src port 8080", "back fragment"},
		{"port 8080 or port 53", "web back dns fragment"},
		{"portrange 8000-8500", "web back six fragment"},
		{"portrange 8081-8500", "six fragment"},
		{"udp port 8080", ""},
		{"host 10.0.0.7", "web back dns fragment"},
		{"src host 10.0.0.7", "web dns fragment"},
		{"net 10.1.0.0/16", "dns"},
		{"net 2001:db8:1::/48", "six"},
		{"dst net 2001:db8::/33", "six"},
		{"src host 2001:db8::2", ""},
		{"not tcp", "dns arp"},
		{"tcp and not (port 8080 or host 10.9.9.9)", "six"},
		{"!(tcp) && ip", "dns"},
		{"not not udp", "dns"},
	} {
		for _, raw := range []bool{false, true} {
			program, err := compile(c.filter, link{raw: raw})
			if err != nil {
				t.Errorf("%s: %v", c.filter, err)
				continue
			}
			vm, err := bpf.NewVM(program)
			if err != nil {
				t.Fatalf("%s: %v", c.filter, err)
			}
			for name, b := range names {
				if raw {
					if b = b[14:]; name == "arp" {
						continue
					}
				}
				n, err := vm.Run(b)
				if err != nil {
					t.Fatal(err)
				}
				if want := strings.Contains(" "+c.want+" ", " "+name+" "); want != (n > 0) {
					t.Errorf("%s (raw %v) takes %s: %v, want %v", c.filter, raw, name, n > 0, want)
				}
			}
		}
	}
}

func TestBadFilters(t *testing.T) {
	for _, text := range []string{
		"port", "port x", "port 70000", "port 1-2", "portrange 5", "portrange 9-3", "host", "host example.com", "host 10.0.0.0/8", "net 10.0.0.0/99",
		"(tcp", "tcp)", "tcp udp", "and", "tcp and", "vlan 7", "not", "host ::ffff:10.0.0.1", strings.Repeat("(", 1000), strings.Repeat("not ", 1000) + "tcp",
		strings.Repeat("port 1 or ", 200) + "port 2",
	} {
		if err := Compile(text); err == nil {
			t.Errorf("%.40q was taken", text)
		}
	}
	if err := Compile(""); err != nil {
		t.Error(err)
	}
}

// FuzzFilter compiles anything: no panic, and what compiles the kernel's rules
// allow.
func FuzzFilter(f *testing.F) {
	f.Add("tcp port 8080 and not (net 10.0.0.0/8 or host ::1)")
	f.Fuzz(func(t *testing.T, text string) {
		program, err := compile(text, link{})
		if err != nil || program == nil {
			return
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if _, err := vm.Run(packet(6, "10.0.0.7:40000", "192.0.2.9:8080")); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
