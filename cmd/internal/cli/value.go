package cli

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/spelling"
)

// word is a setting that takes one of a closed list of words.
type word struct {
	value string
	known []string
}

func (w *word) String() string { return w.value }
func (w *word) Type() string   { return "word" }
func (w *word) Set(s string) error {
	for _, k := range w.known {
		if s == k {
			w.value = s
			return nil
		}
	}
	if near := nearest(s, w.known); near != "" {
		return fmt.Errorf("%q is none of %s; did you mean %q?", s, strings.Join(w.known, ", "), near)
	}
	return fmt.Errorf("%q is none of %s", s, strings.Join(w.known, ", "))
}

// severityWord is a severity, or unset.
type severityWord struct {
	set   bool
	value schema.Severity
}

func (v *severityWord) String() string {
	if !v.set {
		return ""
	}
	return v.value.String()
}
func (v *severityWord) Type() string { return "severity" }
func (v *severityWord) Set(s string) error {
	w := word{known: schema.Severities()}
	if err := w.Set(s); err != nil {
		return err
	}
	v.set = true
	return v.value.UnmarshalText([]byte(s))
}

// share is a part of the whole: "95%" or "0.95".
type share struct {
	set   bool
	value float64
}

func (v *share) String() string {
	if !v.set {
		return ""
	}
	return strconv.FormatFloat(v.value*100, 'f', -1, 64) + "%"
}
func (v *share) Type() string { return "percent" }
func (v *share) Set(s string) error {
	number, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		f /= 100
	}
	// The comparison is turned so that NaN fails it.
	if err != nil || !(f >= 0 && f <= 1) {
		return fmt.Errorf("%q is no share; write 95%% or 0.95", s)
	}
	v.set, v.value = true, f
	return nil
}

// size is a number of bytes: "1.5GiB", "800MB", "0" for no limit.
type size struct{ value uint64 }

var sizeUnits = []struct {
	name  string
	bytes float64
}{
	{"gib", 1 << 30}, {"mib", 1 << 20}, {"kib", 1 << 10}, {"gb", 1e9}, {"mb", 1e6}, {"kb", 1e3},
	{"g", 1 << 30}, {"m", 1 << 20}, {"k", 1 << 10}, {"b", 1}, {"", 1},
}

func (v *size) String() string { return formatBytes(v.value) }
func (v *size) Type() string   { return "size" }
func (v *size) Set(s string) error {
	lower := strings.ToLower(strings.TrimSpace(s))
	for _, unit := range sizeUnits {
		number, ok := strings.CutSuffix(lower, unit.name)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(f >= 0 && f*unit.bytes < 1<<50) {
			break
		}
		v.value = uint64(f * unit.bytes)
		return nil
	}
	return fmt.Errorf("%q is no size; write 1.5GiB or 800MiB", s)
}

func formatBytes(n uint64) string {
	for _, unit := range []struct {
		name  string
		bytes float64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if float64(n) >= unit.bytes {
			return strings.TrimSuffix(strconv.FormatFloat(float64(n)/unit.bytes, 'f', 1, 64), ".0") + unit.name
		}
	}
	return strconv.FormatUint(n, 10) + "B"
}

// moment is a bound of time. A date alone is the whole day, UTC, so as an end
// it means the next midnight.
type moment struct {
	value time.Time
	end   bool
}

func (v *moment) String() string {
	if v.value.IsZero() {
		return ""
	}
	return v.value.Format(time.RFC3339Nano)
}
func (v *moment) Type() string { return "date|time" }
func (v *moment) Set(s string) error {
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		if v.end {
			t = t.AddDate(0, 0, 1)
		}
		v.value = t
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return fmt.Errorf("%q is no time; write 2026-03-01 or 2026-03-01T04:00:00Z", s)
	}
	v.value = t.UTC()
	return nil
}

// since is a moment, or a span back from the latest call: "36h", "7d".
type since struct {
	moment moment
	back   time.Duration
}

func (v *since) String() string {
	if v.back > 0 {
		return v.back.String()
	}
	return v.moment.String()
}
func (v *since) Type() string { return "date|time|span" }
func (v *since) Set(s string) error {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n < 100_000 {
			v.back, v.moment = time.Duration(n)*24*time.Hour, moment{}
			return nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		v.back, v.moment = d, moment{}
		return nil
	}
	v.back = 0
	if err := v.moment.Set(s); err != nil {
		return fmt.Errorf("%q is no time or span; write 2026-03-01, 2026-03-01T04:00:00Z, 36h or 7d", s)
	}
	return nil
}

// address is the URL of a ClickHouse server. It prints without its password.
type address struct{ value string }

func (v *address) String() string {
	u, err := url.Parse(v.value)
	if err != nil || u.User == nil {
		return v.value
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), "xxxxx")
	}
	return strings.Replace(u.String(), ":xxxxx@", ":…@", 1)
}
func (v *address) Type() string { return "url" }
func (v *address) Set(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		// The error of url.Parse repeats its input, password and all.
		return fmt.Errorf("not a server's address; write clickhouse://host:9000/database or https://host:8443/database")
	}
	switch u.Scheme {
	case "clickhouse", "tcp", "http", "https":
	default:
		return fmt.Errorf("scheme %q is not one of clickhouse, http, https", u.Scheme)
	}
	v.value = s
	return nil
}

// addresses is an address that may be given several times.
type addresses []address

func (v *addresses) String() string {
	shown := make([]string, len(*v))
	for i := range *v {
		shown[i] = (*v)[i].String()
	}
	return strings.Join(shown, " ")
}
func (v *addresses) Type() string { return "url" }
func (v *addresses) Set(s string) error {
	var one address
	if err := one.Set(s); err != nil {
		return err
	}
	*v = append(*v, one)
	return nil
}

// list is a setting that may be given several times.
type list struct {
	values  []string
	changed bool
}

func (v *list) String() string { return strings.Join(v.values, ",") }
func (v *list) Type() string   { return "name" }
func (v *list) Set(s string) error {
	// The first flag replaces what a file or the environment said.
	if !v.changed {
		v.values, v.changed = nil, true
	}
	v.values = append(v.values, s)
	return nil
}

// nearest returns the known word that s most likely meant, empty if none is
// near.
func nearest(s string, known []string) string {
	return spelling.Nearest(s, known, max(1, len(s)/3))
}
