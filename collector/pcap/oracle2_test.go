package pcap

import (
	"testing"

	"golang.org/x/net/http2/hpack"
)

// The oracle of HTTP/2 knows every border between frames, and follows the tables of
// HPACK: what a block put there that was captured is known, and everything that was
// there before a block that was not is unknown, since nobody knows by how many places
// it moved. A call can be found if its path and its status are known, and be certain if
// its method, host and credential are, too, and whether it is gRPC (whose result may stay
// unknown).

// block2 is one header block of a whole capture.
type block2 struct {
	stream   uint32
	from, to int // offsets: of its first frame's begin, of its last one's end
	fields   []field2
}

// field2 is a field of a block and how it was written: index is 0 where its name is
// spelled out, literal says that its value is, add that it goes to the table.
type field2 struct {
	hpack.HeaderField
	index        int
	literal, add bool
	resize       bool // no field at all
}

// blocks2 reads the header blocks of one direction.
func blocks2(t *testing.T, b []byte, at int) []block2 {
	t.Helper()
	var all []block2
	decoder := hpack.NewDecoder(4096, nil)
	var block []byte
	for at < len(b) {
		f := parseFrameHead(b[at:])
		end := at + frameHeadSize + int(f.length)
		payload := b[at+frameHeadSize : end]
		if f.kind == frameHeaders {
			pad := 0
			if f.flags&flagPadded != 0 {
				pad, payload = int(payload[0]), payload[1:]
			}
			if f.flags&flagPriority != 0 {
				payload = payload[5:]
			}
			payload = payload[:len(payload)-pad]
			block = nil
			all = append(all, block2{stream: f.stream, from: at})
		}
		if f.kind == frameHeaders || f.kind == frameContinuation {
			block = append(block, payload...)
			if f.flags&flagEndHeaders != 0 {
				fields, err := decoder.DecodeFull(block)
				if err != nil {
					t.Fatalf("the oracle cannot read a block: %v", err)
				}
				last := &all[len(all)-1]
				last.to, last.fields = end, written(block, fields)
			}
		}
		at = end
	}
	return all
}

// written tells how the fields of a block were.
func written(b []byte, fields []hpack.HeaderField) []field2 {
	var out []field2
	for len(b) > 0 {
		c := b[0]
		prefix, f := uint(7), field2{}
		switch {
		case c >= 0x80:
		case c >= 0x40:
			prefix, f.literal, f.add = 6, true, true
		case c >= 0x20:
			prefix, f.resize = 5, true
		default:
			prefix, f.literal = 4, true
		}
		f.index, b, _ = hpackInt(b, prefix)
		for texts := 2; f.literal && texts > 0; texts-- {
			if texts == 2 && f.index > 0 {
				continue // the name is not spelled out
			}
			n, rest, _ := hpackInt(b, 7)
			b = rest[n:]
		}
		if f.resize {
			continue
		}
		f.HeaderField, fields = fields[0], fields[1:]
		out = append(out, f)
	}
	return out
}

// follower knows which places of a table are known to one who saw the blocks that
// were captured.
type follower struct {
	known []bool // the newest first
	sizes []int
	size  int
}

// read returns the fields of a block that are known.
func (f *follower) read(b *block2, captured bool) map[string]bool {
	out := map[string]bool{}
	if !captured {
		clear(f.known)
	}
	for _, w := range b.fields {
		known := captured && (w.index <= len(hpackStatic) || f.known[w.index-len(hpackStatic)-1])
		if known {
			out[w.Name] = true
		}
		if !w.add {
			continue
		}
		size := int(w.Size())
		f.known, f.sizes = append([]bool{known}, f.known...), append([]int{size}, f.sizes...)
		for f.size += size; f.size > 4096; {
			n := len(f.sizes) - 1
			f.size -= f.sizes[n]
			f.known, f.sizes = f.known[:n], f.sizes[:n]
		}
	}
	return out
}

// blocksOf are the blocks of a connection's directions.
type blocksOf [2][]block2

// oracle2 knows a whole capture of HTTP/2.
type oracle2 struct {
	all    map[uint16]*spoke
	blocks map[uint16]blocksOf
}

func newOracle2(t *testing.T, frames []frame) *oracle2 {
	o := &oracle2{listen(frames), map[uint16]blocksOf{}}
	for port, s := range o.all {
		o.blocks[port] = blocksOf{blocks2(t, s.bytes[0], len(http2Preface)), blocks2(t, s.bytes[1], 0)}
	}
	return o
}

func (o *oracle2) possible(_ *testing.T, damaged []frame) (found, certain int) {
	for port, h := range hear(o.all, damaged) {
		seen := [2]map[uint32]map[string]bool{{}, {}}
		said := [2]map[uint32]map[string]string{{}, {}}
		for dir, blocks := range o.blocks[port] {
			var f follower
			for i := range blocks {
				b := &blocks[i]
				known := f.read(b, h.whole(dir, b.from, b.to))
				if b.fields[0].Name == ":status" && b.fields[0].Value < "200" {
					continue
				}
				if seen[dir][b.stream] == nil {
					seen[dir][b.stream], said[dir][b.stream] = map[string]bool{}, map[string]string{}
				}
				for _, w := range b.fields {
					seen[dir][b.stream][w.Name], said[dir][b.stream][w.Name] = known[w.Name], w.Value
				}
			}
		}
		for id, q := range seen[0] {
			a := seen[1][id]
			if !q[":path"] || !a[":status"] {
				continue
			}
			found++
			post := said[0][id][":method"] == "POST"
			if q[":method"] && q[":authority"] && q["authorization"] && (!post || q["content-type"] || a["content-type"]) {
				certain++
			}
		}
	}
	return found, certain
}
