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

// callColumns are what a call is read back from.
const callColumns = "time, id, source_type, source_name, reporter, credential_kind, credential_id, credential_issuer, credential_subject, " +
	"credential_client, credential_instance, session, groups, verified, scopes, scopes_known, permissions_used, decision, policy, service, operation, " +
	"route_source, method, host, path, query_keys, resource, status, request_bytes, response_bytes, duration_us, client_address, peer_address, workload, " +
	"user_agent, tenant, environment, request_id, trace_id, actor_chain, mints, quality"

// slack is how many calls are read for each that evidence may hold, so that
// stored duplicates do not crowd out others.
const slack = 10

// Calls asks for the evidence of many findings at once: a union of one small
// question for each, since each runs over one credential's calls in the order
// they are stored in.
func (s *store) Calls(ctx context.Context, w schema.Window, wants [][]rule.Selector) ([][]schema.Call, error) {
	out := make([][]schema.Call, len(wants))
	var parts []string
	for i, selectors := range wants {
		if len(selectors) > 0 {
			parts = append(parts, evidenceQuery(i, w, selectors))
		}
	}
	if len(parts) == 0 {
		return out, nil
	}
	err := s.query(ctx, "read the calls of findings", strings.Join(parts, " UNION ALL "), func(rows driver.Rows) error {
		var n uint32
		call, err := scanCall(rows, &n)
		if err != nil {
			return err
		}
		out[n] = append(out[n], call)
		return nil
	})
	for i := range out {
		slices.SortFunc(out[i], func(a, b schema.Call) int {
			if c := a.Time.Compare(b.Time); c != 0 {
				return c
			}
			return slices.Compare(a.ID[:], b.ID[:])
		})
	}
	return out, err
}

// evidenceQuery writes the question of one finding.
func evidenceQuery(n int, w schema.Window, selectors []rule.Selector) string {
	hashes := map[schema.PrincipalHash]bool{}
	span := schema.Window{From: selectors[0].From, To: selectors[0].To}
	conditions := make([]string, len(selectors))
	for i := range selectors {
		sel := &selectors[i]
		hashes[sel.Hash] = true
		if sel.From.Before(span.From) {
			span.From = sel.From
		}
		if sel.To.After(span.To) {
			span.To = sel.To
		}
		conditions[i] = "(" + strings.Join(condition(sel), " AND ") + ")"
	}
	who := "credential IN " + hashList(sortedHashes(hashes))
	if len(hashes) == 1 {
		// With the leading key fixed, rows are read in the order of the rest,
		// and reading ends with the limit.
		who = "credential = " + bytesLiteral(selectors[0].Hash[:])
	}
	return fmt.Sprintf("SELECT toUInt32(%d) AS finding, * FROM (SELECT * FROM (SELECT %s FROM %s WHERE %s%s AND time >= %s AND time <= %s AND (%s)"+
		" ORDER BY time, id LIMIT %d) ORDER BY time, id LIMIT 1 BY id LIMIT %d)",
		n, callColumns, table.Calls, who, within(w), instant(span.From), instant(span.To), strings.Join(conditions, " OR "),
		slack*rule.MaxEvidence, rule.MaxEvidence)
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

// scanCall reads the number of a finding and a call.
func scanCall(rows driver.Rows, n *uint32) (schema.Call, error) {
	var c schema.Call
	var id string
	var reporter, kind, verified, known, decision, route, quality uint8
	err := rows.Scan(n, &c.Time, &id, &c.Source.Type, &c.Source.Name, &reporter, &kind, &c.Credential.ID, &c.Credential.Issuer,
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
