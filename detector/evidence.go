package detector

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// callColumns are what a call is read back from.
const callColumns = "time, id, source_type, source_name, reporter, credential_kind, credential_id, credential_issuer, credential_subject, " +
	"credential_client, credential_instance, session, groups, verified, scopes, scopes_known, permissions_used, decision, policy, service, operation, " +
	"route_source, method, host, path, query_keys, resource, status, request_bytes, response_bytes, duration_us, client_address, peer_address, workload, " +
	"user_agent, tenant, environment, request_id, trace_id, actor_chain, mints, quality"

// slack is how many calls are looked at for each that evidence may hold, so that
// stored duplicates do not crowd out others.
const slack = 10

// callKey is where a stored call lies: the key that the calls are sorted by.
type callKey struct {
	hash  schema.PrincipalHash
	micro int64
	id    schema.CallID
}

func compareKeys(a, b callKey) int {
	return cmp.Or(cmp.Compare(a.micro, b.micro), slices.Compare(a.id[:], b.id[:]), slices.Compare(a.hash[:], b.hash[:]))
}

// Calls finds the keys of the calls first, out of few columns, and then reads
// the calls themselves, all at once.
//
// Keys are found in one of two ways: one pass over the calls for many findings
// together, or a small question for each, which ends early since it runs over
// one credential's calls in the order they are stored in. Which is cheaper is a
// matter of numbers; the answer is the same.
func (s *store) Calls(ctx context.Context, w schema.Window, wants [][]rule.Selector) ([][]schema.Call, error) {
	keys := make([][]callKey, len(wants))
	var apart []int
	for n, selectors := range wants {
		if len(selectors) > 0 {
			apart = append(apart, n)
		}
	}
	if len(apart) == 0 {
		return make([][]schema.Call, len(wants)), nil
	}
	stored, err := s.stored(ctx)
	if err != nil {
		return nil, err
	}
	if stored <= uint64(len(apart))*s.passRows {
		if apart, err = s.keysTogether(ctx, w, wants, keys); err != nil {
			return nil, err
		}
	}
	for some := range slices.Chunk(apart, maxUnion) {
		if err := s.keysApart(ctx, w, wants, some, keys); err != nil {
			return nil, err
		}
	}
	return s.callsAt(ctx, keys)
}

const (
	// passRows is how many calls a pass looks at in the time that one question
	// by itself takes, measured on a store of a month.
	passRows = 50_000
	// maxUnion bounds the questions of one statement.
	maxUnion = 40
	// maxKeys bounds the calls that one statement fetches.
	maxKeys = 16384
)

// stored is how many calls there are; ClickHouse knows without counting.
func (s *store) stored(ctx context.Context) (n uint64, err error) {
	err = s.query(ctx, "count the calls", "SELECT count() FROM "+table.Calls, func(rows driver.Rows) error { return rows.Scan(&n) })
	return n, err
}

// keysApart asks for the keys of some findings, one question for each.
func (s *store) keysApart(ctx context.Context, w schema.Window, wants [][]rule.Selector, some []int, keys [][]callKey) error {
	parts := make([]string, len(some))
	for i, n := range some {
		parts[i] = evidenceQuery(n, w, wants[n])
		keys[n] = keys[n][:0]
	}
	return s.query(ctx, "find the calls of findings", strings.Join(parts, " UNION ALL "), func(rows driver.Rows) error {
		n, key, err := scanKey(rows)
		if err == nil {
			keys[n] = append(keys[n], key)
		}
		return err
	})
}

func scanKey(rows driver.Rows) (n uint32, key callKey, err error) {
	var at time.Time
	var id, hash string
	err = rows.Scan(&n, &at, &id, &hash)
	key.micro = at.UnixMicro()
	copy(key.id[:], id)
	copy(key.hash[:], hash)
	return n, key, err
}

// evidenceQuery writes the question of one finding.
func evidenceQuery(n int, w schema.Window, selectors []rule.Selector) string {
	hashes := map[schema.PrincipalHash]bool{}
	conditions := make([]string, len(selectors))
	for i := range selectors {
		hashes[selectors[i].Hash] = true
		conditions[i] = "(" + strings.Join(condition(&selectors[i]), " AND ") + ")"
	}
	who := "credential IN " + hashList(sortedHashes(hashes))
	if len(hashes) == 1 {
		// With the leading key fixed, rows are read in the order of the rest,
		// and reading ends with the limit.
		who = "credential = " + bytesLiteral(selectors[0].Hash[:])
	}
	return fmt.Sprintf("SELECT toUInt32(%d) AS finding, * FROM (SELECT * FROM (SELECT time, id, credential FROM %s WHERE %s%s%s AND (%s)"+
		" ORDER BY time, id LIMIT %d) ORDER BY time, id LIMIT 1 BY id LIMIT %d)",
		n, table.Calls, who, within(w), during(selectors), strings.Join(conditions, " OR "), slack*rule.MaxEvidence, rule.MaxEvidence)
}

// during writes that a call's time lies in the span of all selectors.
func during(selectors []rule.Selector) string {
	from, to := selectors[0].From, selectors[0].To
	for i := range selectors {
		if selectors[i].From.Before(from) {
			from = selectors[i].From
		}
		if selectors[i].To.After(to) {
			to = selectors[i].To
		}
	}
	return " AND time >= " + instant(from) + " AND time <= " + instant(to)
}

// condition writes a selector.
func condition(s *rule.Selector) []string {
	list := []string{"credential = " + bytesLiteral(s.Hash[:]), "time >= " + instant(s.From), "time <= " + instant(s.To)}
	equal := func(yes bool, column, value string) {
		if yes {
			list = append(list, column+" = "+literal(value))
		}
	}
	equal(s.Service != "", "service", s.Service)
	equal(s.Operation != "", "operation", s.Operation)
	equal(s.HasTenant, "tenant", s.Tenant)
	equal(s.HasResource, "resource", s.Resource)
	equal(s.Object != "", "if(resource != '', resource, path)", s.Object)
	if len(s.Decisions) > 0 {
		numbers := make([]string, len(s.Decisions))
		for i, d := range s.Decisions {
			numbers[i] = fmt.Sprint(uint8(d))
		}
		list = append(list, "decision IN ("+strings.Join(numbers, ", ")+")")
	}
	if s.Certain {
		list = append(list, "quality = 0")
	}
	if s.HasPresented {
		list = append(list, "presented = "+bytesLiteral(s.Presented[:]))
	}
	if s.HasOrigin {
		equal(true, "session", s.Session)
		equal(true, "workload", s.Workload)
		list = append(list, "client_address = "+addressLiteral(s.Address))
	}
	return list
}

// callsAt reads the calls that lie at the keys, each list in the order of its
// keys.
func (s *store) callsAt(ctx context.Context, keys [][]callKey) ([][]schema.Call, error) {
	var all []callKey
	for _, list := range keys {
		all = append(all, list...)
	}
	// In the order in which they are stored, those of one statement lie together.
	slices.SortFunc(all, func(a, b callKey) int { return cmp.Or(slices.Compare(a.hash[:], b.hash[:]), compareKeys(a, b)) })
	all = slices.Compact(all)
	found := make(map[callKey]schema.Call, len(all))
	for some := range slices.Chunk(all, maxKeys) {
		statement := "SELECT credential, " + callColumns + " FROM " + table.Calls + " WHERE (credential, time, id) IN " + keySet(some)
		err := s.query(ctx, "read the calls of findings", statement, func(rows driver.Rows) error {
			var hash string
			call, err := scanCall(rows, &hash)
			if err != nil {
				return err
			}
			key := callKey{micro: call.Time.UnixMicro(), id: call.ID}
			copy(key.hash[:], hash)
			found[key] = call
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	out := make([][]schema.Call, len(keys))
	for n, list := range keys {
		slices.SortFunc(list, compareKeys)
		for _, key := range list {
			if call, ok := found[key]; ok {
				out[n] = append(out[n], call)
			}
		}
	}
	return out, nil
}

// keySet writes a set of keys: as one text that the store takes apart, which
// takes it half the time that a list of literals would.
func keySet(keys []callKey) string {
	packed := make([]byte, 0, len(keys)*packedKey)
	for i := range keys {
		packed = append(packed, keys[i].hash[:]...)
		packed = binary.LittleEndian.AppendUint64(packed, uint64(keys[i].micro))
		packed = append(packed, keys[i].id[:]...)
	}
	return fmt.Sprintf("(SELECT toFixedString(substring(k, 1, 16), 16), fromUnixTimestamp64Micro(reinterpretAsInt64(substring(k, 17, 8)), 'UTC'), toFixedString(substring(k, 25, 16), 16)"+
		" FROM (SELECT substring(unhex('%x'), %d * number + 1, %d) AS k FROM numbers(%d)))", packed, packedKey, packedKey, len(keys))
}

// packedKey is the size of a key in the text of keySet.
const packedKey = 16 + 8 + 16

// scanCall reads the hash of a call's principal, and the call.
func scanCall(rows driver.Rows, hash *string) (schema.Call, error) {
	var c schema.Call
	var id string
	var reporter, kind, verified, known, decision, route, quality uint8
	err := rows.Scan(hash, &c.Time, &id, &c.Source.Type, &c.Source.Name, &reporter, &kind, &c.Credential.ID, &c.Credential.Issuer,
		&c.Credential.Subject, &c.Credential.Client, &c.Credential.Instance, &c.Credential.Session, &c.Credential.Groups, &verified,
		&c.Scopes, &known, &c.PermissionsUsed, &decision, &c.Policy, &c.Service, &c.Operation, &route, &c.Method, &c.Host, &c.Path,
		&c.QueryKeys, &c.Resource, &c.Status, &c.RequestBytes, &c.ResponseBytes, &c.DurationUS, &c.ClientAddress, &c.PeerAddress,
		&c.Workload, &c.UserAgent, &c.Tenant, &c.Environment, &c.RequestID, &c.TraceID, &c.ActorChain, &c.Mints, &quality)
	if err != nil {
		return c, err
	}
	c.Time = c.Time.UTC()
	copy(c.ID[:], id)
	c.Reporter, c.Credential.Kind = schema.Reporter(reporter), schema.CredentialKind(kind)
	c.Credential.Verified = verified == 1
	c.Decision, c.RouteSource, c.Quality = schema.Decision(decision), schema.RouteSource(route), schema.Quality(quality)
	c.ClientAddress, c.PeerAddress = address(c.ClientAddress), address(c.PeerAddress)
	if known == 0 {
		c.Scopes = nil
	} else if c.Scopes == nil {
		c.Scopes = []string{}
	}
	for _, list := range []*[]string{&c.Credential.Groups, &c.PermissionsUsed, &c.QueryKeys, &c.ActorChain} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	return c, nil
}
