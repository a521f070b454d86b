package pcap

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/internal/corpus"
	"github.com/scopedrift/scopedrift/schema"
)

// collected is a sink that keeps everything.
type collected struct {
	calls   []schema.Call
	batches []*collector.Batch
	err     error
}

func (c *collected) Put(_ context.Context, b *collector.Batch) error {
	if c.err != nil {
		return c.err
	}
	c.batches = append(c.batches, b)
	c.calls = append(c.calls, b.Calls...)
	return nil
}

var testKey = redact.NewKey([32]byte{1, 2, 3})

// read runs a capture through with cfg (its key set).
func read(t testing.TB, cfg Config, r io.Reader) (*collected, Stats) {
	t.Helper()
	cfg.Key = testKey
	var sink collected
	stats, err := New(cfg).Run(context.Background(), r, collector.Input{Name: "test.pcap"}, &sink)
	if err != nil {
		t.Fatal(err)
	}
	return &sink, stats
}

// differing are the captures whose counts differ from the corpus, and why.
var differing = map[string]struct {
	requests, responses uint64
	why                 string
}{}

func TestCorpusCounts(t *testing.T) {
	dir := corpus.Path(t, "pcap")
	table, err := os.ReadFile(filepath.Join(dir, "EXPECTED.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(table)) {
		field := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(field) < 7 || field[0] == "file" {
			continue
		}
		rows++
		t.Run(field[0], func(t *testing.T) {
			f, err := os.Open(filepath.Join(dir, field[0]))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			sink, stats := read(t, Config{}, f)
			if packets, _ := strconv.ParseUint(field[2], 10, 64); stats.Packets != packets {
				t.Errorf("%d packets, want %d", stats.Packets, packets)
			}
			pairs := uint64(0)
			for i := range sink.calls {
				if sink.calls[i].Method != "" && sink.calls[i].Status != 0 {
					pairs++
				}
			}
			if n := uint64(len(sink.calls)); n != stats.Requests+stats.Orphans || pairs+stats.Orphans != stats.Responses {
				t.Errorf("%d calls (%d pairs, %d orphans) of %d requests and %d answers",
					n, pairs, stats.Orphans, stats.Requests, stats.Responses)
			}
			requests, _ := strconv.ParseUint(field[4], 10, 64)
			responses, _ := strconv.ParseUint(field[5], 10, 64)
			if d, ok := differing[field[0]]; ok {
				requests, responses = d.requests, d.responses
			}
			if stats.Requests != requests || stats.Responses != responses {
				t.Errorf("%d requests and %d answers, want %d and %d (%s)", stats.Requests, stats.Responses, requests, responses, field[12])
			}
			if os.Getenv("PCAP_DUMP") != "" {
				for i := range sink.calls {
					text, _ := json.Marshal(sink.calls[i])
					t.Log(string(text))
				}
				text, _ := json.MarshalIndent(stats, "", " ")
				t.Log(string(text))
			}
		})
	}
	if rows == 0 {
		t.Error("EXPECTED.tsv has no rows")
	}
}

func TestCorpusHostileAnswers(t *testing.T) {
	f, err := os.Open(corpus.Path(t, "pcap", "suricata-verify", "http-evader.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	captures, answered, certain := 0, 0, 0
	for archive := tar.NewReader(z); ; {
		entry, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(entry.Name, ".pcap") && !strings.HasSuffix(entry.Name, ".pcapng") {
			continue
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		captures++
		sink, stats := read(t, Config{}, bytes.NewReader(data))
		if stats.Requests != 1 {
			t.Errorf("%s: %d requests, want 1", entry.Name, stats.Requests)
		}
		for i := range sink.calls {
			if sink.calls[i].Status != 0 {
				answered++
			}
			if sink.calls[i].Quality.Certain() {
				certain++
			}
		}
	}
	// The 56 others have no status line that means one thing only ("HTTP/1.10
	// 200", "http/1.1 200", "HTTP/1.1 2000", a blank or a NUL in front, 1xx).
	if captures != 502 || answered != 446 {
		t.Errorf("%d captures with %d answers, want 502 with 446", captures, answered)
	}
	t.Logf("%d captures, %d answers, %d certain pairs", captures, answered, certain)
}
