package pcap

import "maps"

// Reasons for which something that was captured is not read. They are keys of
// Stats.Dropped.
const (
	dropLate        = "after_the_end"
	dropLength      = "ip_length_beyond_the_packet"
	dropGivenUp     = "after_its_gap_was_given_up"
	dropNoAck       = "without_acknowledgement"
	dropKnock       = "handshake_in_the_middle"
	dropBefore      = "before_its_beginning"
	dropUnwanted    = "never_acknowledged"
	dropFarAhead    = "sequence_far_off"
	dropHeldLimit   = "held_bytes_of_a_connection"
	dropMemory      = "held_bytes_in_total"
	dropConnections = "too_many_connections"
	dropIdle        = "connection_idle"
	dropPending     = "too_many_unanswered"
	dropHead        = "head_too_long"
	dropFragments   = "fragments_without_the_rest"
	dropTruncated   = "head_cut_before_its_first_line"
	dropFrame       = "malformed_frame"
	dropStream      = "request_on_a_stream_that_cannot_be"
	dropBlock       = "malformed_header_block"
	dropBody        = "body_too_long_to_tell"
	dropTables      = "header_table_bytes_in_total"
	dropMints       = "token_issued_to_an_uncertain_caller"
	dropQUIC        = "quic_hellos_too_many_at_a_time"
	dropTLS         = "tls_that_could_not_be_opened"
)

// maxServerNames bounds the names counted in Stats.TLSServers.
const maxServerNames = 1024

// Stats says what a capture held and what of it could not be seen. Nothing is
// lost without standing here.
type Stats struct {
	// Packets and Bytes are what was read; Links counts packets by link type.
	Packets, Bytes uint64
	Links          map[string]uint64
	// Skipped counts packets that carry no TCP segment that could be read, by
	// reason; Unread those with payload of connections whose protocol is not
	// read, by protocol.
	Skipped, Unread map[string]uint64
	// Cut says that the file ended inside a packet.
	Cut bool

	// Connections is the number of TCP connections, Protocols what they spoke:
	// http/1, http/2, tls, upgraded, other.
	Connections uint64
	Protocols   map[string]uint64
	// BothWays and OneWay are the connections with payload, now over, of which
	// packets of both directions were captured, or of one alone. Late are those
	// among them whose beginning was not captured.
	BothWays, OneWay, Late uint64
	// StreamBytes is the payload that was read, each byte once; what was lost is
	// in GapBytes, OneSidedBytes and CutBytes.
	StreamBytes uint64
	// TLSServers counts handshakes of TLS and QUIC by the server name they ask for, "" where
	// they name none and "(more)" beyond the first 1,024 names.
	TLSServers map[string]uint64
	// Decrypted are the TLS connections among Protocols whose secrets were known;
	// what they carried is counted there as well. TLSSecrets is of how many
	// connections the capture itself told secrets.
	Decrypted, TLSSecrets uint64

	// Requests, Responses (final ones) and Interim (1xx) are messages whose first
	// line, or header block, was read. Calls counts what left, by quality.
	Requests, Responses, Interim uint64
	Calls                        map[string]uint64
	// Orphans are answers without request, Unanswered requests without answer.
	Orphans, Unanswered uint64
	// Resyncs counts how often the reader had to look for the border between
	// messages,
	// Ambiguous the messages whose framing two readers may take differently.
	Resyncs, Ambiguous uint64

	// Frames counts those of HTTP/2, Unseen the header blocks of which a field was
	// not legible, Pushed the requests that servers made up themselves.
	Frames, Unseen, Pushed uint64

	// Gaps and GapBytes are what the capture lost inside connections that it
	// saw both sides of; OneSidedBytes what passed by unseen in directions
	// that it never saw; CutBytes what the snap length cut off. EarlierBytes were
	// on their way when the capture began.
	Gaps, GapBytes, OneSidedBytes, CutBytes, EarlierBytes uint64
	// Retransmitted segments held nothing new, Overlapping ones something old
	// as well, Held ones came out of order, Conflicting ones were sent again with
	// other bytes. Urgent ones held a byte that many readers leave out.
	Retransmitted, Overlapping, Held, Conflicting, Urgent uint64
	// Dropped counts what a limit or an oddity made unreadable, by reason.
	Dropped map[string]uint64
	// Redacted counts the secrets removed from paths and texts, by rule.
	Redacted map[string]uint64
}

func newStats() *Stats {
	return &Stats{
		Links: map[string]uint64{}, Skipped: map[string]uint64{}, Unread: map[string]uint64{},
		Protocols: map[string]uint64{}, TLSServers: map[string]uint64{}, Calls: map[string]uint64{},
		Dropped: map[string]uint64{},
	}
}

func (s *Stats) drop(reason string) { s.Dropped[reason]++ }

// countServer counts a TLS connection that cannot be read.
func (s *Stats) countServer(name string) {
	if _, known := s.TLSServers[name]; !known && len(s.TLSServers) >= maxServerNames {
		name = "(more)"
	}
	s.TLSServers[name]++
}

// forget takes back a protocol that a connection turned out not to speak.
func (s *Stats) forget(name string) {
	if s.Protocols[name]--; s.Protocols[name] == 0 {
		delete(s.Protocols, name)
	}
}

// Add adds what another reader counted.
func (s *Stats) Add(o *Stats) {
	for _, n := range []struct {
		to   *uint64
		from uint64
	}{
		{&s.Packets, o.Packets}, {&s.Bytes, o.Bytes}, {&s.Connections, o.Connections}, {&s.BothWays, o.BothWays}, {&s.OneWay, o.OneWay},
		{&s.Late, o.Late}, {&s.StreamBytes, o.StreamBytes}, {&s.Requests, o.Requests}, {&s.Responses, o.Responses}, {&s.Interim, o.Interim},
		{&s.Orphans, o.Orphans}, {&s.Unanswered, o.Unanswered}, {&s.Resyncs, o.Resyncs}, {&s.Ambiguous, o.Ambiguous}, {&s.Frames, o.Frames},
		{&s.Decrypted, o.Decrypted}, {&s.TLSSecrets, o.TLSSecrets}, {&s.Unseen, o.Unseen}, {&s.Pushed, o.Pushed}, {&s.Gaps, o.Gaps}, {&s.GapBytes, o.GapBytes}, {&s.OneSidedBytes, o.OneSidedBytes}, {&s.EarlierBytes, o.EarlierBytes},
		{&s.CutBytes, o.CutBytes}, {&s.Retransmitted, o.Retransmitted}, {&s.Overlapping, o.Overlapping}, {&s.Held, o.Held}, {&s.Conflicting, o.Conflicting}, {&s.Urgent, o.Urgent},
	} {
		*n.to += n.from
	}
	s.Cut = s.Cut || o.Cut
	for _, m := range []struct{ to, from *map[string]uint64 }{
		{&s.Links, &o.Links}, {&s.Skipped, &o.Skipped}, {&s.Unread, &o.Unread}, {&s.Protocols, &o.Protocols},
		{&s.TLSServers, &o.TLSServers}, {&s.Calls, &o.Calls}, {&s.Dropped, &o.Dropped}, {&s.Redacted, &o.Redacted},
	} {
		sum := maps.Clone(*m.to) // it may be in use elsewhere
		if sum == nil {
			sum = map[string]uint64{}
		}
		for key, n := range *m.from {
			sum[key] += n
		}
		*m.to = sum
	}
}
