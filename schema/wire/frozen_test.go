package wire

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/wire/callpb"
)

var update = flag.Bool("update", false, "add what is new to the frozen files; what is in them stays")

const (
	frozenFields   = "testdata/v1/fields.txt"
	frozenMessages = "testdata/v1/messages.jsonl"
)

// fields describes a file of the wire, a line for each thing that a reader or a
// writer depends on.
func fields(file protoreflect.FileDescriptor) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	var messages func(protoreflect.MessageDescriptors)
	messages = func(all protoreflect.MessageDescriptors) {
		for i := range all.Len() {
			m := all.Get(i)
			for i := range m.Fields().Len() {
				f := m.Fields().Get(i)
				kind := f.Kind().String()
				switch {
				case f.Message() != nil:
					kind = string(f.Message().FullName())
				case f.Enum() != nil:
					kind = string(f.Enum().FullName())
				}
				oneof := ""
				if f.ContainingOneof() != nil && !f.HasOptionalKeyword() {
					oneof = " oneof " + string(f.ContainingOneof().Name())
				}
				add("%s = %d %s %s presence %t packed %t%s", f.FullName(), f.Number(), f.Cardinality(), kind, f.HasPresence(), f.IsPacked(), oneof)
			}
			messages(m.Messages())
		}
	}
	messages(file.Messages())
	for i := range file.Enums().Len() {
		e := file.Enums().Get(i)
		for i := range e.Values().Len() {
			add("%s.%s = %d", e.FullName(), e.Values().Get(i).Name(), e.Values().Get(i).Number())
		}
	}
	add("package %s", file.Package())
	slices.Sort(lines)
	return lines
}

// broken returns the frozen lines that are gone.
func broken(frozen, now []string) (gone []string) {
	for _, line := range frozen {
		if !slices.Contains(now, line) {
			gone = append(gone, line)
		}
	}
	return gone
}

func frozenLines(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil && !*update {
		t.Fatal(err)
	}
	return strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
}

func writeLines(t *testing.T, name string, lines []string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestCompatible holds call.proto to what has been released: fields may be
// added, none may go or change.
func TestCompatible(t *testing.T) {
	now, frozen := fields(callpb.File_call_proto), frozenLines(t, frozenFields)
	for _, line := range broken(frozen, now) {
		t.Errorf("call.proto no longer has this, on which released readers and writers depend: %s", line)
	}
	switch added := broken(now, frozen); {
	case len(added) == 0 || t.Failed():
	case *update:
		all := append(frozen, added...)
		slices.Sort(all)
		writeLines(t, frozenFields, all)
	default:
		t.Errorf("%s lacks what is new in call.proto: go test ./schema/wire -update\n%s", frozenFields, strings.Join(added, "\n"))
	}
}

// TestCompatibleBites makes sure that each kind of change is seen.
func TestCompatibleBites(t *testing.T) {
	frozen := frozenLines(t, frozenFields)
	for _, change := range []struct{ from, to string }{
		{".time_us = 1 ", ".time_us = 40 "},          // renumbered
		{".status = 11 ", ".http_status = 11 "},      // renamed: the JSON form of others
		{" optional int64 ", " optional sint64 "},    // retyped
		{" repeated string", " optional string"},     // no list any more
		{"presence true", "presence false"},          // absent and zero become one
		{" oneof body", ""},                          // no longer one of them
		{"DECISION_DENIED = 3", "DECISION_DENY = 3"}, // renamed number
		{"package scopedrift.wire.v1", "package scopedrift.wire.v2"},
	} {
		now, changed := slices.Clone(frozen), false
		for i, line := range now {
			if now[i] = strings.Replace(line, change.from, change.to, 1); now[i] != line {
				changed = true
			}
		}
		if !changed || len(broken(frozen, now)) == 0 {
			t.Errorf("the change of %q to %q goes unnoticed", change.from, change.to)
		}
	}
	if len(broken(frozen, frozen[1:])) != 1 {
		t.Error("that a field is gone goes unnoticed")
	}
}

// TestTags holds the tags of the fast way to call.proto.
func TestTags(t *testing.T) {
	// Each message with its tags in the order of their numbers.
	for name, tags := range map[protoreflect.Name][]uint64{
		"Envelope":   {envelopeVersion, envelopeEpoch, envelopeSequence, envelopeCall, envelopeAccount},
		"Source":     {sourceType, sourceName},
		"Input":      {inputName, inputFormat, inputSize, inputModified},
		"Credential": {credentialKind, credentialID, credentialIssuer, credentialSubject, credentialClient, credentialInstance, credentialSession, credentialGroups, credentialVerified},
		"Account":    {accountInput, accountFirstUnit, accountNextUnit, accountCalls, accountSkipped, accountFirstTime, accountLastTime, accountDone},
		"Call": {
			callTime, callID, callSource, callReporter, callCredential, callScopes, callDecision, callMethod, callHost, callPath, callStatus,
			callDuration, callClientAddress, callUserAgent, callRequestID, callScopesKnown, callPermissionsUsed, callPolicy, callService,
			callOperation, callRouteSource, callQueryKeys, callResource, callRequestBytes, callResponseBytes, callPeerAddress, callWorkload,
			callTenant, callEnvironment, callTraceID, callActorChain, callMints, callQuality,
		},
	} {
		all := callpb.File_call_proto.Messages().ByName(name).Fields()
		if all.Len() != len(tags) {
			t.Errorf("%s has %d fields in call.proto, and the fast way knows %d", name, all.Len(), len(tags))
			continue
		}
		for _, tag := range tags {
			f := all.ByNumber(protowire.Number(tag >> 3))
			if f == nil {
				t.Errorf("%s has no field %d", name, tag>>3)
				continue
			}
			want := protowire.BytesType
			switch f.Kind() {
			case protoreflect.BoolKind, protoreflect.EnumKind, protoreflect.Int64Kind, protoreflect.Uint32Kind, protoreflect.Uint64Kind:
				want = protowire.VarintType
			}
			if got := protowire.Type(tag & 7); got != want {
				t.Errorf("%s has type %d on the wire, and the fast way thinks %d", f.FullName(), want, got)
			}
		}
	}
	for _, e := range []struct {
		names map[int32]string
		last  int
		word  func(n int) string
	}{
		{callpb.Reporter_name, int(schema.ReporterClient), func(n int) string { return schema.Reporter(n).String() }},
		{callpb.Decision_name, int(schema.DecisionError), func(n int) string { return schema.Decision(n).String() }},
		{callpb.RouteSource_name, int(schema.RouteLearned), func(n int) string { return schema.RouteSource(n).String() }},
		{callpb.Quality_name, int(schema.QualityUnanswered), func(n int) string { return schema.Quality(n).String() }},
		{callpb.CredentialKind_name, int(schema.KindSessionCookie), func(n int) string { return schema.CredentialKind(n).String() }},
	} {
		if len(e.names) != e.last+1 || !strings.HasPrefix(e.word(e.last+1), "unknown(") {
			t.Errorf("package schema, call.proto and the fast way do not know the same numbers: %v, last %d", e.names, e.last)
		}
		for n, name := range e.names {
			if !strings.HasSuffix(name, "_"+strings.ToUpper(e.word(int(n)))) {
				t.Errorf("number %d is %s in call.proto and %s in package schema", n, name, e.word(int(n)))
			}
		}
	}
}

// sample is a message of testdata and what it means.
type sample struct {
	Name     string          `json:"name"`
	Message  string          `json:"message"` // hexadecimal
	Epoch    uint64          `json:"epoch,omitempty"`
	Sequence uint64          `json:"sequence,omitempty"`
	Call     json.RawMessage `json:"call,omitempty"`
	Account  json.RawMessage `json:"account,omitempty"`
	Refused  string          `json:"refused,omitempty"`
}

// read fills in what a sample's message means today.
func (s *sample) read(t *testing.T) {
	t.Helper()
	data, err := hex.DecodeString(s.Message)
	if err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
	m, err := NewDecoder().Message(data)
	if err != nil {
		s.Refused = err.(*Error).Reason
		return
	}
	s.Epoch, s.Sequence = m.Epoch, m.Sequence
	if m.Call != nil {
		s.Call, err = json.Marshal(m.Call)
	} else {
		s.Account, err = json.Marshal(written(m.Account))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// written is an account in words that do not change with Go's names.
func written(a *schema.Account) map[string]any {
	at := func(t time.Time) string { return t.Format(schema.TimeFormat) }
	return map[string]any{
		"input":      map[string]any{"name": a.Input.Name, "format": a.Input.Format, "size": a.Input.Size, "modified": at(a.Input.Modified)},
		"first_unit": a.FirstUnit, "next_unit": a.NextUnit, "calls": a.Calls, "skipped": a.Skipped,
		"first_time": at(a.FirstTime), "last_time": at(a.LastTime), "done": a.Done,
	}
}

// TestFrozenMessages reads every message that a released version wrote.
func TestFrozenMessages(t *testing.T) {
	text, err := os.ReadFile(frozenMessages)
	if err != nil && !*update {
		t.Fatal(err)
	}
	var lines, names []string
	for scan := bufio.NewScanner(bytes.NewReader(text)); scan.Scan(); {
		var frozen, now sample
		if err := json.Unmarshal(scan.Bytes(), &frozen); err != nil {
			t.Fatal(err)
		}
		now.Name, now.Message = frozen.Name, frozen.Message
		now.read(t)
		if !reflect.DeepEqual(now, frozen) {
			t.Errorf("%s is read as\n%s%s%s, want\n%s%s%s", frozen.Name, now.Call, now.Account, now.Refused, frozen.Call, frozen.Account, frozen.Refused)
		}
		lines, names = append(lines, scan.Text()), append(names, frozen.Name)
	}
	for _, s := range newSamples(t) {
		if slices.Contains(names, s.Name) {
			continue
		}
		if !*update {
			t.Errorf("%s lacks the sample %q: go test ./schema/wire -update", frozenMessages, s.Name)
			continue
		}
		s.read(t)
		line, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	if *update && !t.Failed() {
		writeLines(t, frozenMessages, lines)
	}
}

// newSamples are the messages that testdata should hold, as today's release
// writes them. Those that are there already are not touched.
func newSamples(t *testing.T) (all []sample) {
	t.Helper()
	e := Envelope{Epoch: 1764111600123456, Sequence: 42}
	add := func(name string, data []byte) {
		all = append(all, sample{Name: name, Message: hex.EncodeToString(data)})
	}
	full := fullCall()
	add("every field", AppendCall(nil, e, full))
	add("as little as can be", AppendCall(nil, Envelope{}, &schema.Call{}))
	for name, scopes := range map[string][]string{"no scopes": nil, "an empty list of scopes": {}, "an empty scope": {""}} {
		c := *full
		c.Scopes = scopes
		add(name, AppendCall(nil, e, &c))
	}
	slices.SortFunc(all, func(a, b sample) int { return strings.Compare(a.Name, b.Name) })
	odd := *full
	odd.Time = time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC)
	odd.Path, odd.Host, odd.UserAgent = "/not\xff/utf\xc0-8", "bücher.example", "🔑"
	odd.Status, odd.RequestBytes, odd.ResponseBytes, odd.DurationUS = 65535, 1<<64-1, 1<<63, 1
	add("extremes", AppendCall(nil, e, &odd))
	for k := range schema.CredentialKinds() {
		add("kind "+schema.CredentialKind(k).String(), AppendCall(nil, e, &schema.Call{ID: full.ID, Time: full.Time,
			Credential: schema.Credential{Kind: schema.CredentialKind(k), ID: "caller"}, Decision: schema.Decision(k % 6),
			Quality: schema.Quality(k % 6), RouteSource: schema.RouteSource(k % 5), Reporter: schema.Reporter(k % 4)}))
	}
	theirs, err := proto.MarshalOptions{Deterministic: true}.Marshal(generated(e, full))
	if err != nil {
		t.Fatal(err)
	}
	add("by the generated types", theirs)
	future := *full
	future.Decision, future.Quality, future.Reporter, future.RouteSource, future.Credential.Kind = 200, 201, 202, 203, 204
	unknown := protowire.AppendString(protowire.AppendTag(nil, 900, protowire.BytesType), "a field of the future")
	add("of a newer release", append(AppendCall(nil, e, &future), unknown...))
	newer := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), Version+1)
	add("a newer version", append(AppendCall(nil, e, full), newer...))
	add("account", AppendAccount(nil, e, fullAccount()))
	add("an empty account", AppendAccount(nil, e, &schema.Account{}))
	return all
}
