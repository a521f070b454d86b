package serve

import (
	stdbinary "encoding/binary"
	"fmt"
	"net/http"
	"strings"

	"github.com/scopedrift/scopedrift/pipeline/engine/chdb"
)

// Protocol revisions that change the Native format.
const (
	revisionCustomSerialization = 54454
)

// hello is the answer to the question that clickhouse-go asks of every new
// connection. The client reads it in its own newest revision, and every later
// answer in the revision that the hello names. The engine writes revision 0, so
// the hello names that.
type hello struct {
	name, version string
}

const helloQuery = "SELECT displayName(), version(), revision(), timezone()"

func isHello(q *request) bool {
	return q.revision > 0 && strings.EqualFold(q.format, "Native") && strings.TrimSpace(q.sql) == helloQuery
}

func readHello(conn *chdb.Conn) (hello, error) {
	out, _, err := conn.Query("SELECT displayName(), version()", "RowBinary")
	if err != nil {
		return hello{}, fmt.Errorf("ask the engine for its version: %w", err)
	}
	r := binary{out}
	return hello{name: r.str(), version: r.str()}, nil
}

func (h hello) write(w http.ResponseWriter, q *request) error {
	var b []byte
	// Block info: 1 = is_overflows, 2 = bucket_num, 0 = end.
	b = append(b, 1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0)
	b = stdbinary.AppendUvarint(b, 4) // columns
	b = stdbinary.AppendUvarint(b, 1) // rows
	put := func(name, typ string, value []byte) {
		b = appendString(b, name)
		b = appendString(b, typ)
		if q.revision >= revisionCustomSerialization {
			b = append(b, 0)
		}
		b = append(b, value...)
	}
	put("displayName()", "String", appendString(nil, h.name))
	put("version()", "String", appendString(nil, h.version))
	put("revision()", "UInt32", make([]byte, 4))
	put("timezone()", "String", appendString(nil, "UTC"))
	return newAnswer(w, q).finish(b)
}

type column struct{ name, typ string }

// encodeHeader writes the head of a Native block of revision 0.
func encodeHeader(b []byte, cols []column, rows uint64) []byte {
	b = stdbinary.AppendUvarint(b, uint64(len(cols)))
	b = stdbinary.AppendUvarint(b, rows)
	for _, c := range cols {
		b = appendString(b, c.name)
		b = appendString(b, c.typ)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(stdbinary.AppendUvarint(b, uint64(len(s))), s...)
}

// binary reads RowBinary; what is cut short reads as empty.
type binary struct{ b []byte }

func (r *binary) str() string {
	n, k := stdbinary.Uvarint(r.b)
	if k <= 0 || n > uint64(len(r.b)-k) {
		r.b = nil
		return ""
	}
	s := string(r.b[k : k+int(n)])
	r.b = r.b[k+int(n):]
	return s
}
