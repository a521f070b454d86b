package serve

import (
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/klauspost/compress/gzip"

	"github.com/scopedrift/scopedrift/pipeline/engine/chdb"
)

// maxText bounds a statement, inline rows included, in bytes. Rows that come
// as the body beside ?query= are not bounded.
const maxText = 64 << 20

// request is what one HTTP request asks for.
type request struct {
	statement
	database string
	settings []setting
	params   []chdb.Param
	data     io.Reader // rows of an INSERT
	// compress asks for an answer in ClickHouse's compressed blocks.
	compress bool
	method   compress.Method
	// revision is the protocol revision that the client would like; only the
	// answer to its hello is written in it.
	revision int
}

// control are URL parameters that are no settings. Sessions and users do not
// exist here, the others say how to transfer.
var control = map[string]bool{
	"query": true, "database": true, "default_format": true, "compress": true, "decompress": true,
	"query_id": true, "quota_key": true, "user": true, "password": true, "stacktrace": true, "role": true,
	"session_id": true, "session_timeout": true, "session_check": true, "close_session": true,
	"wait_end_of_query": true, "buffer_size": true, "client_protocol_version": true,
}

func bad(code int, name, format string, args ...any) error {
	return &chdb.Error{Code: code, Text: fmt.Sprintf("Code: %d. DB::Exception: %s. (%s)", code, fmt.Sprintf(format, args...), name)}
}

// readRequest takes a request apart. Of the body it reads no more than the
// statement.
func (s *Server) readRequest(w http.ResponseWriter, r *http.Request) (*request, error) {
	switch r.Method {
	case http.MethodGet, http.MethodPost:
	default:
		return nil, bad(48, "NOT_IMPLEMENTED", "HTTP method %q is not supported", r.Method)
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
		return nil, bad(48, "NOT_IMPLEMENTED", "external tables are not supported by the embedded engine")
	}
	if err := r.ParseForm(); err != nil && r.URL.RawQuery != "" {
		return nil, bad(36, "BAD_ARGUMENTS", "cannot read the URL: %v", err)
	}
	values := r.URL.Query()
	q := &request{database: values.Get("database"), method: compress.LZ4}
	if d := r.Header.Get("X-ClickHouse-Database"); q.database == "" {
		q.database = d
	}
	_, _ = fmt.Sscanf(values.Get("client_protocol_version"), "%d", &q.revision)
	for name, list := range values {
		value := list[len(list)-1]
		switch {
		case control[name]:
		case strings.HasPrefix(name, "param_"):
			q.params = append(q.params, chdb.Param{Name: strings.TrimPrefix(name, "param_"), Value: value})
		case name == "network_compression_method" && strings.EqualFold(value, "zstd"):
			q.method = compress.ZSTD
		case name == "network_compression_method" || name == "network_zstd_compression_level":
		default:
			q.settings = append(q.settings, setting{name, value})
		}
	}
	sort.Slice(q.params, func(i, j int) bool { return q.params[i].Name < q.params[j].Name })
	q.compress = isOn(values.Get("compress"))
	body, err := bodyReader(r, isOn(values.Get("decompress")))
	if err != nil {
		return nil, err
	}
	text := values.Get("query")
	if text == "" || parseStatement(text, s.formats).kind != kindInsert {
		more, err := io.ReadAll(io.LimitReader(body, maxText+1))
		if err != nil {
			return nil, bad(210, "NETWORK_ERROR", "cannot read the request: %v", err)
		}
		if len(more) > maxText {
			return nil, bad(62, "SYNTAX_ERROR", "the statement is larger than %d bytes: pass rows as the body, and the INSERT as the URL parameter query", maxText)
		}
		if text != "" && len(more) > 0 {
			text += "\n"
		}
		text += string(more)
		body = nil
	}
	return q, q.finish(text, values.Get("default_format"), body, s.formats, r.Method)
}

func (q *request) finish(text, format string, body io.Reader, known formats, method string) error {
	q.statement = parseStatement(text, known)
	switch {
	case q.kind == kindEmpty:
		return bad(62, "SYNTAX_ERROR", "Empty query")
	case q.many:
		return bad(62, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed)")
	case method == http.MethodGet && q.kind != kindRead:
		return bad(164, "READONLY", "a GET request can only read: use POST")
	}
	if q.format == "" {
		q.format = format
	}
	if q.format == "" {
		q.format = "TabSeparated"
	}
	if q.kind == kindInsert {
		inline := strings.NewReader(strings.TrimLeft(q.rest, " \t\r\n"))
		q.data = inline
		if body != nil {
			q.data = body
			if inline.Len() > 0 {
				q.data = io.MultiReader(inline, strings.NewReader("\n"), body)
			}
		}
	}
	return nil
}

func isOn(v string) bool { return v == "1" || strings.EqualFold(v, "true") }

// bodyReader undoes the compression of a request: HTTP's, then ClickHouse's.
func bodyReader(r *http.Request, native bool) (io.Reader, error) {
	var body io.Reader = r.Body
	switch enc := r.Header.Get("Content-Encoding"); enc {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, bad(354, "ZLIB_INFLATE_FAILED", "the request is not gzip: %v", err)
		}
		body = z
	default:
		return nil, bad(89, "UNKNOWN_COMPRESSION_METHOD", "content encoding %q is not supported: use gzip or none", enc)
	}
	if native {
		body = decompress(body)
	}
	return body, nil
}
