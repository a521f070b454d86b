package detector

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// keysTogether finds the keys of all findings in one pass over the calls, or
// two: selectors that name service and operation meet a call by these, which
// few others share; those that do not meet all calls of their credential.
//
// It returns the findings for which too many equal ids stood in the way, which
// must be asked about apart.
func (s *store) keysTogether(ctx context.Context, w schema.Window, wants [][]rule.Selector, keys [][]callKey) (apart []int, err error) {
	var named, loose pass
	for n, selectors := range wants {
		for i := range selectors {
			if sel := &selectors[i]; sel.Service != "" && sel.Operation != "" {
				named.add(n, sel)
			} else {
				loose.add(n, sel)
			}
		}
	}
	named.on = " AND c.service = s.service AND c.operation = s.operation"
	for _, p := range []*pass{&named, &loose} {
		if len(p.selectors) == 0 {
			continue
		}
		p.found = map[uint32][]callKey{}
		err := s.query(ctx, "find the calls of findings", p.statement(w), func(rows driver.Rows) error {
			n, key, err := scanKey(rows)
			if err == nil {
				p.found[n] = append(p.found[n], key)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	for n := range wants {
		list, whole := earliest(named.found[uint32(n)], loose.found[uint32(n)])
		if keys[n] = list; !whole {
			apart = append(apart, n)
		}
	}
	return apart, nil
}

// earliest returns the keys of the first MaxEvidence different ids in lists that
// each hold the earliest keys of more, in any order. whole is false where a list
// may end before them.
func earliest(lists ...[]callKey) (keys []callKey, whole bool) {
	var all []callKey
	var end *callKey // what lies beyond is not known
	for _, list := range lists {
		all = append(all, list...)
		if len(list) >= slack*rule.MaxEvidence {
			last := slices.MaxFunc(list, compareKeys)
			if end == nil || compareKeys(last, *end) < 0 {
				end = &last
			}
		}
	}
	slices.SortFunc(all, compareKeys)
	seen := map[schema.CallID]bool{}
	for _, key := range all {
		if end != nil && compareKeys(key, *end) > 0 {
			break
		}
		if seen[key.id] {
			continue
		}
		seen[key.id] = true
		if keys = append(keys, key); len(keys) == rule.MaxEvidence {
			return keys, true
		}
	}
	return keys, end == nil
}

// pass is one pass over the calls for many selectors.
type pass struct {
	selectors []rule.Selector
	findings  []int
	// on is what a call and a selector share besides the credential.
	on    string
	found map[uint32][]callKey
}

func (p *pass) add(n int, sel *rule.Selector) {
	p.findings, p.selectors = append(p.findings, n), append(p.selectors, *sel)
}

// selectorField is one condition of selectors as a column of a table.
type selectorField struct {
	// columns are what the table of selectors holds for it; needs what it looks
	// at of a call.
	columns, needs string
	// used says whether a selector has the condition, values its columns.
	used   func(*rule.Selector) bool
	values func(*rule.Selector) string
	// where holds for a call c and a selector s.
	where string
}

func flag(yes bool) string {
	if yes {
		return "1"
	}
	return "0"
}

// selectorFields are the conditions besides credential and time.
var selectorFields = []selectorField{
	{"service String", "service", func(s *rule.Selector) bool { return s.Service != "" },
		func(s *rule.Selector) string { return literal(s.Service) }, "(s.service = '' OR c.service = s.service)"},
	{"operation String", "operation", func(s *rule.Selector) bool { return s.Operation != "" },
		func(s *rule.Selector) string { return literal(s.Operation) }, "(s.operation = '' OR c.operation = s.operation)"},
	{"has_tenant UInt8, tenant String", "tenant", func(s *rule.Selector) bool { return s.HasTenant },
		func(s *rule.Selector) string { return flag(s.HasTenant) + ", " + literal(s.Tenant) }, "(s.has_tenant = 0 OR c.tenant = s.tenant)"},
	{"has_resource UInt8, resource String", "resource", func(s *rule.Selector) bool { return s.HasResource },
		func(s *rule.Selector) string { return flag(s.HasResource) + ", " + literal(s.Resource) }, "(s.has_resource = 0 OR c.resource = s.resource)"},
	{"object String", "if(resource != '', resource, path) AS object", func(s *rule.Selector) bool { return s.Object != "" },
		func(s *rule.Selector) string { return literal(s.Object) }, "(s.object = '' OR c.object = s.object)"},
	{"decisions UInt16", "decision", func(s *rule.Selector) bool { return len(s.Decisions) > 0 }, decisionBits,
		"(s.decisions = 0 OR bitAnd(s.decisions, bitShiftLeft(toUInt16(1), c.decision)) != 0)"},
	{"certain UInt8", "quality", func(s *rule.Selector) bool { return s.Certain },
		func(s *rule.Selector) string { return flag(s.Certain) }, "(s.certain = 0 OR c.quality = 0)"},
	{"has_presented UInt8, presented FixedString(8)", "presented", func(s *rule.Selector) bool { return s.HasPresented },
		func(s *rule.Selector) string { return flag(s.HasPresented) + ", " + bytesLiteral(s.Presented[:]) }, "(s.has_presented = 0 OR c.presented = s.presented)"},
	{"has_origin UInt8, session String, workload String, address IPv6", "session, workload, client_address", func(s *rule.Selector) bool { return s.HasOrigin },
		func(s *rule.Selector) string {
			return flag(s.HasOrigin) + ", " + literal(s.Session) + ", " + literal(s.Workload) + ", " + addressLiteral(s.Address)
		},
		"(s.has_origin = 0 OR c.session = s.session AND c.workload = s.workload AND c.client_address = s.address)"},
}

// decisionBits writes a set of decisions as a number.
func decisionBits(s *rule.Selector) string {
	bits := uint16(0)
	for _, d := range s.Decisions {
		bits |= 1 << d
	}
	return fmt.Sprint(bits)
}

// statement joins the calls with the selectors, and keeps the earliest keys of
// each finding. Conditions that no selector has are left out, with their columns.
func (p *pass) statement(w schema.Window) string {
	columns, needs, where := "n UInt32, credential FixedString(16), since Int64, until Int64", "credential, time, id", ""
	rows := make([]string, len(p.selectors))
	hashes := map[schema.PrincipalHash]bool{}
	for i := range p.selectors {
		sel := &p.selectors[i]
		hashes[sel.Hash] = true
		rows[i] = fmt.Sprintf("(%d, %s, %d, %d", p.findings[i], bytesLiteral(sel.Hash[:]), sel.From.UnixMicro(), sel.To.UnixMicro())
	}
	for _, f := range selectorFields {
		if !slices.ContainsFunc(p.selectors, func(s rule.Selector) bool { return f.used(&s) }) {
			continue
		}
		columns += ", " + f.columns
		needs += ", " + f.needs
		where += " AND " + f.where
		for i := range p.selectors {
			rows[i] += ", " + f.values(&p.selectors[i])
		}
	}
	return fmt.Sprintf("SELECT n, k.1 AS time, k.2 AS id, k.3 AS credential FROM (SELECT s.n AS n, groupArraySorted(%d)((c.time, c.id, c.credential)) AS ks"+
		" FROM (SELECT %s FROM %s WHERE credential IN %s%s%s) AS c INNER JOIN (SELECT * FROM values('%s', %s)) AS s ON c.credential = s.credential%s"+
		" WHERE toUnixTimestamp64Micro(c.time) BETWEEN s.since AND s.until%s GROUP BY n) ARRAY JOIN ks AS k",
		slack*rule.MaxEvidence, needs, table.Calls, hashList(sortedHashes(hashes)), within(w), during(p.selectors),
		columns, strings.Join(rows, "), ")+")", p.on, where)
}
