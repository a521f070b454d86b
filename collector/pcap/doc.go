// Package pcap turns packet captures into calls.
//
// [New] and [Capture.Run] are all that most callers need; [IsCapture] tells a
// capture by its first bytes. Run reads pcap and pcapng files (either byte
// order, micro- and nanoseconds, several interfaces, files put together as they
// are), decodes Ethernet with VLAN tags and MPLS labels, Linux cooked, loopback,
// PPP and PPPoE, netfilter- and packet-filter-log, PKTAP, raw IP and clear-text
// wireless links, unpacks VXLAN, Geneve, GRE, ERSPAN, GTP-U, L2TP and others
// (tunnel.go), puts IP fragments together, follows TCP connections, reads HTTP/1 and
// HTTP/2 with gRPC, and pairs requests with answers.
//
// It promises:
//
//   - A pair that is marked complete is right: what could be a wrong pair, after
//     lost bytes, in a connection joined in its middle, or behind a message
//     whose length two readers may see differently, is marked or taken apart
//     (pair.go and http2.go say by which rules).
//   - What was not seen is unknown, never guessed: of HTTP/2 joined late, a field
//     whose table slot was filled before (hpack.go).
//   - No secret leaves: header values reach only collector/identify and
//     collector/redact. Bodies are counted; those that name an operation, tell
//     its result or issue a token are read up to a limit (sample.go) and
//     forgotten.
//   - Memory is bounded by [Limits] however long the capture is, and what a
//     limit costs is counted in [Stats].
//   - The same capture always gives the same calls with the same ids.
//
// Calls carry reporter "server", since a capture sees both ends of what the
// server was sent. Sizes are those of bodies without framing; a duration runs
// from the first packet of the request to the last one of the answer. Client
// and peer address are the sender of the TCP packets: whom a proxy in front
// says it speaks for is not believed here. A request that names no host gets
// the server's address and port. gRPC, GraphQL, JSON-RPC and MCP name their
// operations themselves.
//
// # The way of a packet
//
// A packet becomes calls in seven steps, each in files of its own:
//
//  1. capture.go runs it all: [Capture.Run] over a file that reader.go reads
//     through buffer.go, or [Capture.Watch] (watch.go) over packets as they come, from package live or
//     from a directory (follow.go).
//  2. decode.go takes the headers off: link.go of the link, tunnel.go of tags and
//     tunnels, ip.go of IP; fragment.go puts datagrams together. quic.go looks at
//     the rest of UDP.
//  3. flow.go finds the packet's connection and bounds how many there are, vlan.go tells
//     one in several VLANs from several with the same addresses; stream.go hands on
//     its bytes in causal order, held.go keeps what came too early, and recall.go
//     knows what was sent twice with other bytes.
//  4. sniff.go tells by the first bytes what a connection speaks. tls.go opens TLS
//     where tlskeys.go has its secrets, with tlscipher.go, and begins again inside.
//  5. http1.go reads the messages of HTTP/1, head.go their heads, body.go the length
//     of their bodies, field.go the fields of both versions. frame.go reads the frames
//     of HTTP/2, resync.go finds them again behind a hole, hpack.go reads their
//     header blocks (hpackstatic.go and huffman.go are the tables of RFC 7541), and
//     shelf.go keeps their table over a hole.
//  6. pair.go pairs requests and answers of HTTP/1: by their order and numbers; where
//     messages were lost by counting (align.go), by a client's habit (patience.go), and
//     what is only likely marked (likely.go), once something else says the same (vouch.go). http2.go pairs those of HTTP/2 by their
//     streams (streams.go) and waits for proof where a border is in doubt (doubt.go).
//  7. call.go makes the call, with an identity and without secrets; sample.go keeps the
//     bodies that name an operation or tell its result: rpcname.go and rpc.go read
//     them, over scanjson.go. unseen.go tells what stands for calls that were not seen.
//
// stats.go has the books of all of it.
//
// # What it cannot see
//
// What is encrypted, but for TLS in a file with its secrets (TLS and QUIC are counted by
// server name), and what follows an upgrade
// to anything but HTTP/2 (counted), nor requests behind a CONNECT that was not answered
// yet. It does not read bodies in codings other than gzip, and what a server pushes.
// Bytes that look like a request where the capture lost the border between messages may
// be a body; such a call is marked complete only where what follows proves the border
// (doubt.go, align.go). An injected segment that comes before the true one is taken for
// it; only if the true one still comes is that noticed.
package pcap
