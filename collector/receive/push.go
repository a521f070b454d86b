package receive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/gateway"
)

// answer is what a client is told.
type answer struct {
	status int
	// Units, Calls and Skipped say what became of the body.
	Units   uint64            `json:"units,omitempty"`
	Calls   uint64            `json:"calls"`
	Skipped map[string]uint64 `json:"skipped,omitempty"`
	Error   string            `json:"error,omitempty"`
	Hint    string            `json:"hint,omitempty"`
	// retry is after how many seconds the client may try again.
	retry int
}

func refuse(status int, text, hint string) answer {
	return answer{status: status, Error: text, Hint: hint}
}

// busy is the answer while the sink is behind.
func busy() answer {
	a := refuse(http.StatusTooManyRequests, "calls cannot be handed on as fast as they come", "push the same body again after Retry-After")
	a.retry = 2
	return a
}

// ServeHTTP answers one request.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	a := r.answer(w, req)
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("X-Content-Type-Options", "nosniff")
	switch a.status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", "Bearer")
	case http.StatusMethodNotAllowed:
		header.Set("Allow", http.MethodPost)
	case http.StatusUnsupportedMediaType:
		header.Set("Accept-Encoding", "gzip, zstd")
	}
	if a.retry > 0 {
		header.Set("Retry-After", strconv.Itoa(a.retry))
	}
	r.mu.Lock()
	r.stats.Answers[a.status]++
	r.mu.Unlock()
	w.WriteHeader(a.status)
	_ = json.NewEncoder(w).Encode(a) // who went away does not read it
}

func (r *Receiver) answer(w http.ResponseWriter, req *http.Request) answer {
	if req.URL.Path != Path {
		return refuse(http.StatusNotFound, "nothing is here", "post to "+Path)
	}
	if !r.allowed(req) {
		return refuse(http.StatusUnauthorized, "the token is missing or wrong", "send the header Authorization: Bearer TOKEN")
	}
	if req.Method != http.MethodPost {
		return refuse(http.StatusMethodNotAllowed, "only POST is of use here", "post lines of a log")
	}
	if req.ContentLength > r.cfg.MaxBody {
		return r.tooLarge()
	}
	var reader *gateway.Pushed
	select {
	case reader = <-r.readers:
		defer func() { r.readers <- reader }()
	default:
		return busy()
	}
	body, refused := r.body(w, req)
	if refused.status != 0 {
		return refused
	}
	return r.hand(req.Context(), reader, body)
}

func (r *Receiver) tooLarge() answer {
	return refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("a body may have %d bytes, also when it is unpacked", r.cfg.MaxBody), "push fewer lines at a time")
}

// body reads and unpacks the request's body.
func (r *Receiver) body(w http.ResponseWriter, req *http.Request) (body []byte, refused answer) {
	if kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err == nil && kind == "multipart/form-data" {
		return nil, refuse(http.StatusUnsupportedMediaType, "a form is no log", "send the lines as the body itself")
	}
	var from io.Reader = http.MaxBytesReader(w, req.Body, r.cfg.MaxBody)
	switch encoding := req.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(from)
		if err != nil {
			return nil, broken(err, r)
		}
		defer z.Close()
		from = z
	case "zstd":
		z, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderMaxMemory(uint64(r.cfg.MaxBody)+1))
		if err != nil {
			return nil, broken(err, r)
		}
		defer z.Close()
		from = z
	default:
		return nil, refuse(http.StatusUnsupportedMediaType, "this compression is not known", "use gzip, zstd or none")
	}
	var buf bytes.Buffer
	if n := req.ContentLength; n > 0 {
		buf.Grow(int(n))
	}
	if _, err := buf.ReadFrom(io.LimitReader(from, r.cfg.MaxBody+1)); err != nil {
		return nil, broken(err, r)
	}
	if int64(buf.Len()) > r.cfg.MaxBody {
		return nil, r.tooLarge()
	}
	return buf.Bytes(), answer{}
}

// broken is the answer to a body that cannot be read to its end.
func broken(err error, r *Receiver) answer {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) || errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return r.tooLarge()
	}
	return refuse(http.StatusBadRequest, "the body ended early, or is not what Content-Encoding says", "push it again")
}

// errBehind says that the sink did not take a batch in time.
var errBehind = errors.New("the sink is behind")

// hand makes calls of a body and waits until the sink has them.
func (r *Receiver) hand(ctx context.Context, reader *gateway.Pushed, body []byte) answer {
	// A client that goes away does not stop what is on its way.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Wait)
	defer cancel()
	report, err := reader.Read(ctx, r.cfg.Name, body, &push{r})
	var mostly *gateway.UnreadableError
	switch {
	case err == nil, errors.As(err, &mostly):
		r.took(report, len(body))
	case errors.Is(err, errBehind), ctx.Err() != nil:
		r.mu.Lock()
		if r.stats.Behind.IsZero() {
			r.stats.Behind = time.Now()
		}
		r.mu.Unlock()
		return busy()
	default:
		r.mu.Lock()
		r.failed = err
		r.mu.Unlock()
		r.fail(err)
		a := refuse(http.StatusServiceUnavailable, "calls cannot be handed on", "the log of this collector says why; push the same body again later")
		a.retry = 30
		return a
	}
	a := answer{status: http.StatusOK, Units: report.Units, Calls: report.Calls, Skipped: map[string]uint64{}}
	for _, counts := range []map[string]uint64{report.NotACall, report.Bad} {
		for reason, n := range counts {
			a.Skipped[reason] += n
		}
	}
	if mostly != nil {
		a.status = http.StatusBadRequest
		a.Error, a.Hint = "more than half of the body cannot be read", mostly.Hint()
	}
	return a
}

// took counts a body that the sink has.
func (r *Receiver) took(report *gateway.InputReport, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.stats
	s.Units += report.Units
	s.Calls += report.Calls
	s.Bytes += uint64(bytes)
	for _, counts := range []map[string]uint64{report.NotACall, report.Bad} {
		for reason, n := range counts {
			s.Skipped[reason] += n
		}
	}
	s.LastPut, s.Behind = time.Now(), time.Time{}
}

// push hands on the batches of one body: one at a time with those of others,
// and with units that are numbered through.
type push struct{ r *Receiver }

// Put hands on a batch; see the contract of collector.Sink.
func (p *push) Put(ctx context.Context, batch *collector.Batch) error {
	r := p.r
	select {
	case r.putting <- struct{}{}:
		defer func() { <-r.putting }()
	case <-ctx.Done():
		return errBehind
	}
	units := batch.NextUnit - batch.FirstUnit
	if units == 0 {
		return nil
	}
	r.mu.Lock()
	batch.FirstUnit = r.next
	failed := r.failed
	r.mu.Unlock()
	if failed != nil {
		return failed
	}
	batch.NextUnit, batch.Done = batch.FirstUnit+units, false
	if err := r.sink.Put(ctx, batch); err != nil {
		if ctx.Err() != nil {
			return errBehind
		}
		return err
	}
	r.mu.Lock()
	r.next = batch.FirstUnit + units
	r.mu.Unlock()
	return nil
}
