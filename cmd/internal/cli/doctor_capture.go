package cli

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/collector/pcap"
)

// tapped says what a capture shows of the connections that passed its tap.
type tapped struct {
	Connections uint64            `json:"connections"`
	Protocols   map[string]uint64 `json:"protocols,omitempty"`
	// BothWays and OneWay are connections with payload by the directions
	// captured, Late those of them that were joined after their beginning.
	BothWays uint64 `json:"both_ways"`
	OneWay   uint64 `json:"one_way"`
	Late     uint64 `json:"late"`
	// LostShare is the share of the payload that the tap lost or cut off,
	// 0..1; UnseenBytes is what passed in directions that it does not show.
	LostShare   float64 `json:"lost_share"`
	UnseenBytes uint64  `json:"unseen_bytes"`
	// Decrypted are the TLS connections that a key log opened. TLSShare is the share
	// of the connections with a known protocol that is encrypted without one, 0..1; TLSServers are the names asked for, the most frequent.
	Decrypted  uint64      `json:"decrypted"`
	TLSShare   float64     `json:"tls_share"`
	TLSServers []tlsServer `json:"tls_servers,omitempty"`
	// Quality counts the calls by how certain request and answer belong together.
	Quality map[string]uint64 `json:"quality,omitempty"`
	// Operations are those named by the traffic or grouped by path, the most
	// frequent ones, with the calls that showed a credential and those that did not.
	Operations []tappedOperation `json:"operations,omitempty"`
	// Advice says what to capture instead, in sentences.
	Advice []string `json:"advice,omitempty"`
}

// tlsServer is a server whose traffic cannot be read.
type tlsServer struct {
	Name       string `json:"name"`
	Handshakes uint64 `json:"handshakes"`
}

// tappedOperation counts the calls of one operation.
type tappedOperation struct {
	Host      string `json:"host"`
	Operation string `json:"operation"`
	With      uint64 `json:"with_credential"`
	Without   uint64 `json:"without_credential"`
}

// shownOperations and shownServers bound the lists of a capture's diagnosis.
const (
	shownOperations = 10
	shownServers    = 5
)

// tap says what a capture shows, and what would show more.
func tap(s *pcap.Stats, x *examined) *tapped {
	t := &tapped{
		Connections: s.Connections, Protocols: s.Protocols, BothWays: s.BothWays, OneWay: s.OneWay, Late: s.Late,
		UnseenBytes: s.OneSidedBytes, Quality: s.Calls,
	}
	if lost := s.GapBytes + s.CutBytes; lost > 0 {
		t.LostShare = float64(lost) / float64(lost+s.StreamBytes)
	}
	var known uint64
	for _, n := range s.Protocols {
		known += n
	}
	t.Decrypted = s.Decrypted
	// What was opened is counted as what it carried as well.
	if known -= min(s.Decrypted, known); known > 0 {
		t.TLSShare = float64(s.Protocols["tls"]-min(s.Decrypted, s.Protocols["tls"])) / float64(known)
	}
	for name, n := range s.TLSServers {
		t.TLSServers = append(t.TLSServers, tlsServer{cmp.Or(name, "(no name)"), n})
	}
	slices.SortFunc(t.TLSServers, func(x, y tlsServer) int {
		return cmp.Or(cmp.Compare(y.Handshakes, x.Handshakes), cmp.Compare(x.Name, y.Name))
	})
	t.TLSServers = t.TLSServers[:min(len(t.TLSServers), shownServers)]
	for key, n := range x.operations {
		t.Operations = append(t.Operations, tappedOperation{key.Host, key.Operation, n[0], n[1]})
	}
	slices.SortFunc(t.Operations, func(x, y tappedOperation) int {
		return cmp.Or(cmp.Compare(y.With+y.Without, x.With+x.Without), cmp.Compare(x.Host, y.Host), cmp.Compare(x.Operation, y.Operation))
	})
	t.Operations = t.Operations[:min(len(t.Operations), shownOperations)]
	t.advise(s, x)
	return t
}

// A capture that lost more than this is worth a better tap; a share of
// connections or calls above notable is worth a sentence.
const (
	notableLoss = 0.001
	notable     = 0.05
)

// advise says what to mirror instead.
func (t *tapped) advise(s *pcap.Stats, x *examined) {
	add := func(format string, args ...any) { t.Advice = append(t.Advice, fmt.Sprintf(format, args...)) }
	share := func(n, of uint64) float64 {
		if of == 0 {
			return 0
		}
		return float64(n) / float64(of)
	}
	withPayload := t.BothWays + t.OneWay
	if n := s.Skipped["ipsec_encrypted"] + s.Skipped["macsec_encrypted"] + s.Skipped["wireless_encrypted"]; n > 0 {
		add("%s packets are encrypted as a whole (IPsec, MACsec, wireless): capture where they are opened", output.Number(n))
	}
	if n := s.Dropped["kernel_drops"]; n > 0 {
		add("whoever captured had no room for %s packets: filter to the API's ports, or give tcpdump a larger buffer (-B 65536)", output.Number(n))
	}
	if n := s.Dropped["ip_length_beyond_the_packet"] + s.Skipped["ip_length_beyond_the_packet"]; n > 0 {
		add("%s packets claim to be longer than they were: they were forged, or cut by a program that does not say so; nothing of their connections is certain", output.Number(n))
	}
	switch {
	case s.Packets == 0:
		add("the capture holds no packet that could be read: check that the file is whole, and the interface and the filter it was made with")
		return
	case withPayload == 0:
		add("no TCP connection with payload was captured: check the filter; UDP and QUIC carry no call that could be read")
		return
	}
	if t.TLSShare > notable {
		add("%.0f %% of the connections are encrypted: capture behind what ends TLS (between gateway and service, or on lo of the pod), or read the gateway's log", 100*t.TLSShare)
	}
	if share(t.OneWay, withPayload) > notable {
		add("%.0f %% of the connections show one direction only: mirror both directions of the port (both ports, where each carries one) into one capture", 100*share(t.OneWay, withPayload))
	}
	if s.CutBytes > 0 {
		add("packets were cut at a snap length, %s bytes are missing: capture whole packets (tcpdump -s 0)", output.Number(s.CutBytes))
	}
	if gaps := share(s.GapBytes, s.GapBytes+s.StreamBytes); gaps > notableLoss {
		add("%.1f %% of the payload was lost by the tap: filter to the API's ports, give tcpdump a larger buffer (-B 65536), or mirror less per session", 100*gaps)
	}
	if late := 100 * share(t.Late, withPayload); late > 100*notable {
		why := "nothing proves whose the first answers are until their clients pause"
		if s.Protocols["http/2"] > 0 {
			why = "HTTP/2 names a header field only once"
		}
		add("%.0f %% of the connections were joined late, and %s: start the capture before the clients, or let the gateway renew connections", late, why)
	}
	if n := s.Skipped["quic"]; n > 0 {
		add("%s packets of QUIC cannot be read: HTTP/3 must be captured behind the gateway that ends it", output.Number(n))
	}
	if x.calls == 0 && t.TLSShare <= notable {
		add("no HTTP was found in what can be read: check that the filter takes the API's ports")
	}
	// Of the others the head was not seen, or what stood in it is not known.
	if without, seen := x.kinds["anonymous"], x.calls-min(x.kinds["unknown"], x.calls); share(without, seen) > 0.5 {
		add("%.0f %% of the requests that were seen show no credential: capture where it is still there (before a gateway that takes the Authorization header away), or read the log of what checks it", 100*share(without, seen))
	}
}

func (t *tapped) print(line func(string, ...any)) {
	line("  connections    %s, %s; %s seen both ways, %s one way, %s joined late",
		output.Number(t.Connections), cmp.Or(counted(t.Protocols), "nothing that is known"), output.Number(t.BothWays), output.Number(t.OneWay), output.Number(t.Late))
	line("  payload        %.2f %% lost or cut off; %s bytes in directions that were not captured", 100*t.LostShare, output.Number(t.UnseenBytes))
	if text := counted(t.Quality); text != "" {
		line("  pairs          %s", text)
	}
	if t.Decrypted > 0 {
		line("  decrypted      %s by a key log", output.Count(t.Decrypted, "connection"))
	}
	for i, s := range t.TLSServers {
		if i == 0 {
			line("  encrypted      %.1f %% of the connections, most to", 100*t.TLSShare)
		}
		line("    %10s  %s", output.Number(s.Handshakes), s.Name)
	}
	for i, o := range t.Operations {
		if i == 0 {
			line("  operations     with, and without credential")
		}
		line("    %10s %10s  %s  %s", output.Number(o.With), output.Number(o.Without), o.Host, o.Operation)
	}
	for _, text := range t.Advice {
		line("  better         %s", text)
	}
}

// seen counts a call by its operation, as the traffic names it or grouped by
// path, and by whether it shows a credential.
func (x *examined) seen(host, operation string, with bool) {
	key := unrouted{Host: host, Operation: operation}
	n, known := x.operations[key]
	if !known && len(x.operations) >= maxUnrouted {
		return
	}
	if with {
		n[0]++
	} else {
		n[1]++
	}
	if x.operations == nil {
		x.operations = map[unrouted][2]uint64{}
	}
	x.operations[key] = n
}
