package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/scopedrift/scopedrift/internal/spenttest"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
)

// client speaks plain HTTP to an engine's socket.
func client(e *engine.Engine) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", e.Socket())
		},
	}}
}

// ask posts a body to ?query and returns status, headers and answer.
func ask(t *testing.T, c *http.Client, query url.Values, body io.Reader, header ...string) (int, http.Header, string, error) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://engine/?"+query.Encode(), body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer func() { _ = res.Body.Close() }()
	out, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(out), err
}

func TestPlainHTTP(t *testing.T) {
	e := enginetest.Start(t, engine.Config{})
	c := client(e)
	must := func(query url.Values, body string) string {
		t.Helper()
		status, _, out, err := ask(t, c, query, strings.NewReader(body))
		if err != nil || status != http.StatusOK {
			t.Fatalf("%v %q: status %d, %v: %s", query, body, status, err, out)
		}
		return out
	}
	for _, tt := range []struct {
		query url.Values
		body  string
		want  string
	}{
		{nil, "SELECT 1", "1\n"},
		{url.Values{"query": {"SELECT 1"}}, "", "1\n"},
		{url.Values{"query": {"SELECT"}}, "2", "2\n"},
		{nil, "SELECT number FROM numbers(3) FORMAT JSONEachRow", "{\"number\":0}\n{\"number\":1}\n{\"number\":2}\n"},
		{nil, "SELECT 'FORMAT CSV; x' AS format ORDER BY format DESC FORMAT CSV SETTINGS max_threads = 1;", "\"FORMAT CSV; x\"\n"},
		{nil, "SELECT 1 AS a, 2 AS b FORMAT TSVWithNames", "a\tb\n1\t2\n"},
		{url.Values{"default_format": {"CSVWithNames"}}, "SELECT 1 AS a WHERE 0", "\"a\"\n"},
		{url.Values{"param_x": {"it's"}}, "SELECT {x:String}", "it\\'s\n"},
		{nil, "CREATE DATABASE `other`", ""},
		{url.Values{"database": {"other"}}, "CREATE TABLE t (a UInt8, b String) ENGINE = MergeTree ORDER BY a", ""},
		{url.Values{"database": {"other"}}, "INSERT INTO t VALUES (1, 'x'), (2, 'a;b')", ""},
		{url.Values{"database": {"other"}, "query": {"INSERT INTO t FORMAT CSV"}}, "3,three\n4,four\n", ""},
		{url.Values{"database": {"other"}}, "INSERT INTO t FORMAT JSONEachRow\n{\"a\":5,\"b\":\"five\"}\n", ""},
		{url.Values{"database": {"other"}, "query": {"INSERT INTO t (b, a) VALUES"}}, "('six', 6)", ""},
		{url.Values{"database": {"other"}}, "INSERT INTO t SELECT 7, 'values'", ""},
		{nil, "SELECT count(), sum(a), max(b) FROM other.t", "7\t28\tx\n"},
		{nil, "SHOW TABLES FROM other", "t\n"},
		{nil, "EXISTS other.t", "1\n"},
	} {
		if got := must(tt.query, tt.body); got != tt.want {
			t.Errorf("%v %q = %q, want %q", tt.query, tt.body, got, tt.want)
		}
	}
	// The engine writes the head of such formats around every piece of an
	// answer, so those must not be answered in pieces.
	if got := must(nil, "SELECT number FROM numbers(300000) FORMAT TSVWithNames"); strings.Count(got, "number") != 1 || strings.Count(got, "\n") != 300001 {
		t.Errorf("TSVWithNames has %d heads and %d lines", strings.Count(got, "number"), strings.Count(got, "\n"))
	}
	if got := must(nil, "SELECT number FROM numbers(300000)"); strings.Count(got, "\n") != 300000 {
		t.Errorf("TSV has %d lines", strings.Count(got, "\n"))
	}
}

func TestHTTPErrors(t *testing.T) {
	e := enginetest.Start(t, engine.Config{})
	c := client(e)
	for _, tt := range []struct {
		name   string
		query  url.Values
		body   string
		header []string
		status int
		code   string
	}{
		{"unknown table", nil, "SELECT * FROM nope", nil, 404, "60"},
		{"syntax", nil, "SELEKT", nil, 400, "62"},
		{"empty", nil, " -- nothing\n", nil, 400, "62"},
		{"two statements", nil, "SELECT 1; DROP TABLE x", nil, 400, "62"},
		{"two statements behind a format", nil, "SELECT 1 FORMAT CSV; DROP TABLE x", nil, 400, "62"},
		{"unknown setting", url.Values{"nope": {"1"}}, "SELECT 1", nil, 400, "115"},
		{"hostile setting", url.Values{"a = 1, max_threads": {"1"}}, "SELECT 1", nil, 400, "115"},
		{"hostile value", url.Values{"max_threads": {"1', max_block_size = '5"}}, "SELECT 1", nil, 500, ""},
		{"hostile database", url.Values{"database": {"x`; DROP DATABASE default; --"}}, "SELECT 1", nil, 404, "81"},
		{"missing parameter", nil, "SELECT {x:String}", nil, 500, ""},
		{"unknown format", nil, "SELECT 1 FORMAT Nope", nil, 500, ""},
		{"unknown encoding", nil, "SELECT 1", []string{"Content-Encoding", "br"}, 400, "89"},
		{"not gzip", nil, "SELECT 1", []string{"Content-Encoding", "gzip"}, 500, "354"},
		{"not compressed", url.Values{"query": {"INSERT INTO FUNCTION null('a UInt8') FORMAT Native"}, "decompress": {"1"}}, strings.Repeat("x", 200), nil, 500, "210"},
		{"external tables", nil, "x", []string{"Content-Type", "multipart/form-data; boundary=x"}, 400, "48"},
		{"garbage as rows", url.Values{"query": {"INSERT INTO FUNCTION null('a UInt8') FORMAT Native"}}, "garbage garbage", nil, 500, ""},
	} {
		status, header, out, err := ask(t, c, tt.query, strings.NewReader(tt.body), tt.header...)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		code := header.Get("X-ClickHouse-Exception-Code")
		if status == http.StatusOK || code == "" || !strings.HasPrefix(out, "Code: "+code+".") {
			t.Errorf("%s: status %d, code %q, text %q", tt.name, status, code, out)
		}
		if tt.status != 500 && status != tt.status || tt.code != "" && code != tt.code {
			t.Errorf("%s: status %d, code %s, want %d, %s: %s", tt.name, status, code, tt.status, tt.code, out)
		}
	}
	// A GET can be made by any web page that a browser shows.
	res, err := c.Get("http://engine/?query=" + url.QueryEscape("CREATE TABLE x (a UInt8) ENGINE = Memory"))
	if err != nil || res.StatusCode == http.StatusOK {
		t.Errorf("a GET that writes: %v, %v", res, err)
	}
	for _, path := range []string{"/ping", "/"} {
		if res, err := c.Get("http://engine" + path); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %v, %v", path, res, err)
		}
	}
}

// A client that does not know how exceptions are framed still must not take the
// answer for whole.
func TestBrokenAnswerHasNoEnd(t *testing.T) {
	e := enginetest.Start(t, engine.Config{})
	status, header, out, err := ask(t, client(e), nil, strings.NewReader("SELECT number, throwIf(number = 3000000) FROM numbers(10000000) SETTINGS max_threads = 1"))
	if status != http.StatusOK {
		t.Fatalf("status %d: the answer did not begin", status)
	}
	if err == nil {
		t.Error("the answer ended in order")
	}
	tag := header.Get("X-ClickHouse-Exception-Tag")
	if want := "\r\n__exception__\r\n" + tag + "\r\nCode: 395."; tag == "" || !strings.Contains(out, want) {
		t.Errorf("no exception with tag %q at the end: %q", tag, out[max(0, len(out)-300):])
	}
}

// Rows that break off are not stored, however they break off.
func TestBrokenInsert(t *testing.T) {
	e := enginetest.Start(t, engine.Config{})
	c := client(e)
	conn := enginetest.Connect(t, e)
	execute(t, conn, "CREATE TABLE b (a UInt32) ENGINE = MergeTree ORDER BY a")
	insert := url.Values{"query": {"INSERT INTO b FORMAT CSV"}}
	whole := strings.Repeat("1\n", 100_000)
	t.Run("the client fails", func(t *testing.T) {
		body := io.MultiReader(strings.NewReader(whole), brokenReader{})
		if _, _, _, err := ask(t, c, insert, body); err == nil {
			t.Error("no error")
		}
	})
	t.Run("gzip is cut", func(t *testing.T) {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		if _, err := io.WriteString(w, whole); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		status, _, out, err := ask(t, c, insert, bytes.NewReader(z.Bytes()[:z.Len()-9]), "Content-Encoding", "gzip")
		if err != nil || status == http.StatusOK {
			t.Errorf("status %d, %v: %s", status, err, out)
		}
		status, _, out, err = ask(t, c, url.Values{"query": {"INSERT INTO FUNCTION null('a UInt32') FORMAT CSV"}}, &z, "Content-Encoding", "gzip")
		if err != nil || status != http.StatusOK {
			t.Errorf("whole gzip: status %d, %v: %s", status, err, out)
		}
	})
	t.Run("the connection breaks", func(t *testing.T) {
		raw, err := net.Dial("unix", e.Socket())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(raw, "POST /?%s HTTP/1.1\r\nHost: engine\r\nContent-Length: 1000000\r\n\r\n%s", insert.Encode(), whole[:1000])
		time.Sleep(50 * time.Millisecond)
		_ = raw.Close()
	})
	time.Sleep(100 * time.Millisecond)
	if got := one[uint64](t, conn, "SELECT count() FROM b"); got != 0 {
		t.Errorf("%d rows of broken inserts were stored", got)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, fmt.Errorf("the client failed") }

// Every compression that clickhouse-go can ask for over HTTP, both ways.
func TestCompression(t *testing.T) {
	e := enginetest.Start(t, engine.Config{Listen: "127.0.0.1:0"})
	ctx := context.Background()
	for _, method := range []string{"none", "lz4", "zstd", "gzip", "deflate", "br"} {
		t.Run(method, func(t *testing.T) {
			conn, err := clickhouse.Open(ctx, clickhouse.Target{URL: "http://" + e.Address() + "/default?compress=" + method})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			execute(t, conn, "DROP TABLE IF EXISTS z SYNC")
			execute(t, conn, "CREATE TABLE z (n UInt64, s String) ENGINE = MergeTree ORDER BY n")
			batch, err := conn.PrepareBatch(ctx, "INSERT INTO z")
			if err != nil {
				t.Fatal(err)
			}
			for n := range 100_000 {
				if err := batch.Append(uint64(n), strings.Repeat("x", n%50)); err != nil {
					t.Fatal(err)
				}
			}
			err = batch.Send()
			if method == "deflate" || method == "br" {
				// Not offered: the server says so, and answers uncompressed.
				wantCode(t, err, 89)
			} else if err != nil {
				t.Fatal(err)
			} else if got := one[uint64](t, conn, "SELECT sum(n) FROM z"); got != 99_999*100_000/2 {
				t.Errorf("sum = %d", got)
			}
			var total uint64
			rows, err := conn.Query(ctx, "SELECT number, toString(number) FROM numbers(300000)")
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
				var n uint64
				var s string
				if err := rows.Scan(&n, &s); err != nil {
					t.Fatal(err)
				}
				total += n
			}
			if rows.Err() != nil || total != 299_999*300_000/2 {
				t.Errorf("total = %d, %v", total, rows.Err())
			}
			_, err = conn.Query(ctx, "SELECT * FROM nope")
			wantCode(t, err, 60)
			rows, err = conn.Query(ctx, "SELECT throwIf(number = 3000000) FROM numbers(10000000) SETTINGS max_threads = 1")
			if err == nil {
				for rows.Next() {
				}
				err = rows.Err()
			}
			wantCode(t, err, 395)
		})
	}
}

// Sessions come and go by the thousand: the engine must not grow with them.
func TestSessionsDoNotPileUp(t *testing.T) {
	e := enginetest.Start(t, engine.Config{})
	c := client(e)
	round := func(n int) {
		for i := range n {
			// Settings that nobody had before need a new session each time.
			q := url.Values{"insert_deduplication_token": {fmt.Sprint(n, "-", i)}}
			if status, _, out, err := ask(t, c, q, strings.NewReader("SELECT 1")); err != nil || status != 200 {
				t.Fatalf("status %d, %v: %s", status, err, out)
			}
		}
	}
	round(500)
	before := spenttest.Of(t, e.PID())
	round(3000)
	after := spenttest.Of(t, e.PID())
	t.Logf("resident %d MiB, then %d MiB; threads %d, then %d", before.Resident>>20, after.Resident>>20, before.Threads, after.Threads)
	if after.Resident > before.Resident+(96<<20) || after.Threads > before.Threads+20 {
		t.Error("the engine grows with its sessions")
	}
}
