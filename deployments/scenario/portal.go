package scenario

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"
)

// portal tells the month of the old customer portal, which sits behind a plain
// web server (whose log names the virtual host) and knows people by basic
// authentication.
func (w *world) portal() {
	paths := []string{"/shipments", "/shipments?page=2", "/shipments/20417", "/shipments/20511"}
	tell := func(user, address, agent string) func(time.Time) {
		return func(t time.Time) {
			text := fmt.Sprintf(`portal.harbourline.example:80 %s - %s [%s] "GET %s HTTP/1.1" 200 %d "-" "%s"`, address, user,
				t.Format("02/Jan/2006:15:04:05 -0700"), paths[w.rand.IntN(len(paths))], 400+w.rand.IntN(5000), agent)
			w.put("portal/access.log", "portal", t.Truncate(time.Second), []byte(text))
		}
	}
	w.repeat(1, office, tell("dispatch", "10.70.2.40", "DispatchTool/4.0"))
	w.repeat(.5, daylight, tell("-", "192.0.2.200", "Mozilla/5.0"))
}

// visit is one request and answer on the wire, on a connection of its own.
type visit struct {
	at            time.Time
	client        string
	request       string
	answer        string
	sequence, ack uint32
}

// capture writes half an hour of the portal's traffic as a capture file, seen
// on a mirror port: browsers with session cookies and the dispatch tool with
// its password. It returns the file and the number of packets.
func (w *world) capture() ([]byte, int) {
	var file bytes.Buffer
	// Magic number, version 2.4, zone, accuracy, snap length, Ethernet.
	for _, field := range []uint32{0xa1b2c3d4, 4<<16 | 2, 0, 0, 65535, 1} {
		file.Write(binary.LittleEndian.AppendUint32(nil, field))
	}
	packets := 0
	begin := time.Date(2026, time.October, 28, 9, 0, 0, 0, time.UTC)
	for i := range 60 {
		v := visit{at: begin.Add(time.Duration(i*31) * time.Second), client: fmt.Sprintf("192.0.2.%d", 130+i%7), sequence: w.rand.Uint32(), ack: w.rand.Uint32()}
		secret := fmt.Sprintf("Cookie: JSESSIONID=EXAMPLE%08X\r\n", 0xC0FFEE00+i%7)
		if i%6 == 5 {
			secret = "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("dispatch:example-password")) + "\r\n"
		}
		v.request = fmt.Sprintf("GET /shipments/%d HTTP/1.1\r\nHost: portal.harbourline.example\r\nUser-Agent: Mozilla/5.0\r\n%s\r\n", 20400+i, secret)
		v.answer = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 14\r\n\r\n<html>ok</html"
		packets += v.write(&file, uint16(40000+i))
	}
	return file.Bytes(), packets
}

// TCP flags.
const (
	fin = 1 << iota
	syn
	_
	push
	ack
)

// write appends the visit's packets: handshake, request, answer, farewell.
func (v *visit) write(file *bytes.Buffer, port uint16) int {
	type segment struct {
		fromClient bool
		flags      byte
		payload    string
	}
	segments := []segment{
		{true, syn, ""}, {false, syn | ack, ""}, {true, ack, ""}, {true, push | ack, v.request}, {false, ack, ""},
		{false, push | ack, v.answer}, {true, ack, ""}, {true, fin | ack, ""}, {false, fin | ack, ""}, {true, ack, ""},
	}
	client, server := v.sequence, v.ack
	at := v.at
	for _, s := range segments {
		at = at.Add(1500 * time.Microsecond)
		advance := uint32(len(s.payload))
		if s.flags&(syn|fin) != 0 {
			advance++
		}
		if s.fromClient {
			packet(file, at, v.client, "10.20.7.2", port, 80, client, server, s.flags, s.payload)
			client += advance
		} else {
			packet(file, at, "10.20.7.2", v.client, 80, port, server, client, s.flags, s.payload)
			server += advance
		}
	}
	return len(segments)
}

// packet appends one Ethernet frame with an IPv4 and TCP header.
func packet(file *bytes.Buffer, at time.Time, from, to string, fromPort, toPort uint16, seq, acked uint32, flags byte, payload string) {
	frame := make([]byte, 14, 14+40+len(payload))
	frame[0], frame[5], frame[6], frame[11] = 2, 2, 2, 1
	frame[12], frame[13] = 0x08, 0x00
	ip := make([]byte, 20)
	ip[0], ip[8], ip[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(ip[2:], uint16(40+len(payload)))
	copy(ip[12:], ipv4(from))
	copy(ip[16:], ipv4(to))
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	tcp := make([]byte, 20)
	binary.BigEndian.PutUint16(tcp[0:], fromPort)
	binary.BigEndian.PutUint16(tcp[2:], toPort)
	binary.BigEndian.PutUint32(tcp[4:], seq)
	binary.BigEndian.PutUint32(tcp[8:], acked)
	tcp[12], tcp[13] = 5<<4, flags
	binary.BigEndian.PutUint16(tcp[14:], 65000)
	frame = append(append(append(frame, ip...), tcp...), payload...)
	for _, field := range []uint32{uint32(at.Unix()), uint32(at.Nanosecond() / 1000), uint32(len(frame)), uint32(len(frame))} {
		file.Write(binary.LittleEndian.AppendUint32(nil, field))
	}
	file.Write(frame)
}

func ipv4(s string) []byte {
	var a, b, c, d byte
	fmt.Sscanf(s, "%d.%d.%d.%d", &a, &b, &c, &d)
	return []byte{a, b, c, d}
}

// checksum is the Internet checksum of an IP header.
func checksum(header []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
