package cli

import (
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/collector/pcap"
)

// TestTapAdvice states for each fault of a tap which sentence names it, and
// that a good tap hears none.
func TestTapAdvice(t *testing.T) {
	calls := func(n, without uint64) *examined {
		return &examined{calls: n, kinds: map[string]uint64{"api_key": n - without, "anonymous": without}}
	}
	hidden := func(unknown, anonymous, known uint64) *examined {
		return &examined{calls: unknown + anonymous + known, kinds: map[string]uint64{"unknown": unknown, "anonymous": anonymous, "api_key": known}}
	}
	late := pcap.Stats{Packets: 9, BothWays: 2, Late: 2, StreamBytes: 980, EarlierBytes: 500, Protocols: map[string]uint64{"http/1": 2}}
	for _, c := range []struct {
		name  string
		stats pcap.Stats
		x     *examined
		// want are words of the sentences, one each, in order.
		want []string
	}{
		{"a good one", pcap.Stats{Packets: 100, Connections: 10, BothWays: 10, StreamBytes: 1e6, Protocols: map[string]uint64{"http/1": 10}}, calls(50, 10), nil},
		{"nothing", pcap.Stats{}, calls(0, 0), []string{"no packet that could be read"}},
		{"UDP", pcap.Stats{Packets: 9}, calls(0, 0), []string{"no TCP connection"}},
		{"encrypted", pcap.Stats{Packets: 9, BothWays: 10, StreamBytes: 1e6, Protocols: map[string]uint64{"http/1": 1, "tls": 9}}, calls(5, 0), []string{"90 % of the connections are encrypted"}},
		{"one way", pcap.Stats{Packets: 9, BothWays: 1, OneWay: 9, StreamBytes: 1e6}, calls(5, 0), []string{"90 % of the connections show one direction"}},
		{"cut", pcap.Stats{Packets: 9, BothWays: 1, StreamBytes: 1e6, CutBytes: 10}, calls(5, 0), []string{"snap length"}},
		{"lossy", pcap.Stats{Packets: 9, BothWays: 1, StreamBytes: 980, GapBytes: 20}, calls(5, 0), []string{"2.0 % of the payload"}},
		{"late HTTP/2", pcap.Stats{Packets: 9, BothWays: 2, Late: 1, StreamBytes: 980, Protocols: map[string]uint64{"http/2": 2}}, calls(5, 0), []string{"50 % of the connections were joined late"}},
		{"late HTTP/1", late, calls(5, 0), []string{"proves whose the first answers are"}},
		{"requests that were not seen", pcap.Stats{Packets: 9, BothWays: 2, StreamBytes: 980}, hidden(7, 1, 2), nil},
		{"most of those that were seen", pcap.Stats{Packets: 9, BothWays: 2, StreamBytes: 980}, hidden(7, 2, 1), []string{"67 % of the requests that were seen"}},
		{"QUIC", pcap.Stats{Packets: 9, BothWays: 2, StreamBytes: 980, Skipped: map[string]uint64{"quic": 7}}, calls(5, 0), []string{"7 packets of QUIC"}},
		{"IPsec", pcap.Stats{Packets: 9, Skipped: map[string]uint64{"ipsec_encrypted": 7}}, calls(0, 0), []string{"7 packets are encrypted as a whole", "no TCP connection"}},
		{"dropped by the kernel", pcap.Stats{Packets: 9, BothWays: 2, StreamBytes: 980, Dropped: map[string]uint64{"kernel_drops": 12}}, calls(5, 0), []string{"no room for 12 packets"}},
		{"lengths that lie", pcap.Stats{Packets: 9, BothWays: 2, StreamBytes: 980, Dropped: map[string]uint64{"ip_length_beyond_the_packet": 3}}, calls(5, 0), []string{"3 packets claim to be longer"}},
		{"another protocol", pcap.Stats{Packets: 9, BothWays: 2, StreamBytes: 980, Protocols: map[string]uint64{"other": 2}}, calls(0, 0), []string{"no HTTP was found"}},
		{"behind what checks", pcap.Stats{Packets: 9, BothWays: 2, StreamBytes: 980}, calls(10, 9), []string{"90 % of the requests that were seen show no credential"}},
	} {
		got := tap(&c.stats, c.x).Advice
		if len(got) != len(c.want) {
			t.Errorf("%s: the advice is %q, want %d sentences", c.name, got, len(c.want))
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], c.want[i]) {
				t.Errorf("%s: %q does not say %q", c.name, got[i], c.want[i])
			}
		}
	}
}
