package cli

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
	"github.com/scopedrift/scopedrift/schema/table"
)

// seenPrincipal is one observed principal with its key.
type seenPrincipal struct {
	schema.Principal
	hash string
	// declared is nil where the catalogue does not know it.
	declared *catalog.Credential
}

// name is the catalogue's name, else the observed id, else the kind.
func (p *seenPrincipal) name() string {
	switch {
	case p.declared != nil:
		return p.declared.ID
	case p.ID != "":
		return p.ID
	}
	return p.Kind.String()
}

// principals reads who was seen, and who that is by the catalogue.
func principals(ctx context.Context, conn driver.Conn, cat *catalog.Catalog) ([]seenPrincipal, error) {
	rows, err := conn.Query(ctx, "SELECT credential, kind, id, issuer, subject, client FROM "+table.Principals+
		" GROUP BY credential, kind, id, issuer, subject, client ORDER BY id, kind, issuer, subject, client")
	if err != nil {
		return nil, explained(err)
	}
	defer func() { _ = rows.Close() }()
	var all []seenPrincipal
	for rows.Next() {
		var p seenPrincipal
		var kind uint8
		if err := rows.Scan(&p.hash, &kind, &p.ID, &p.Issuer, &p.Subject, &p.Client); err != nil {
			return nil, explained(err)
		}
		p.Kind = schema.CredentialKind(kind)
		if p.declared, err = cat.CredentialFor(p.Principal); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, explained(rows.Err())
}

// principalsOf returns the keys, as SQL literals, of those who go by a name.
func principalsOf(ctx context.Context, conn driver.Conn, cat *catalog.Catalog, name string) ([]string, error) {
	all, err := principals(ctx, conn, cat)
	if err != nil {
		return nil, err
	}
	var literals []string
	for i := range all {
		p := &all[i]
		if p.ID == name || p.name() == name {
			literals = append(literals, fmt.Sprintf("toFixedString(unhex('%s'), 16)", hex.EncodeToString([]byte(p.hash))))
		}
	}
	return literals, nil
}

// eachCall reads stored calls. rest follows the FROM.
func eachCall(ctx context.Context, conn driver.Conn, rest string, args []any, do func(*schema.Call) error) error {
	rows, err := conn.Query(ctx, "SELECT "+strings.Join(table.CallColumns, ", ")+" FROM "+table.Calls+rest, args...)
	if err != nil {
		return explained(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		call, err := scanCall(rows)
		if err != nil {
			return explained(err)
		}
		if err := do(call); err != nil {
			return err
		}
	}
	return explained(rows.Err())
}

// scanCall reads one row of table.CallColumns; the order is theirs.
func scanCall(rows driver.Rows) (*schema.Call, error) {
	var (
		c                                                      schema.Call
		at                                                     time.Time
		id, credential, presented                              string
		reporter, kind, verified, known, decision, route, qual uint8
		scopes                                                 []string
		client, peer                                           netip.Addr
	)
	err := rows.Scan(&at, &id, &c.Source.Type, &c.Source.Name, &reporter,
		&credential, &kind, &c.Credential.ID, &c.Credential.Issuer, &c.Credential.Subject,
		&c.Credential.Client, &c.Credential.Instance, &c.Credential.Session, &c.Credential.Groups, &verified,
		&presented, &scopes, &known, &c.PermissionsUsed, &decision, &c.Policy,
		&c.Service, &c.Operation, &route, &c.Method, &c.Host, &c.Path, &c.QueryKeys, &c.Resource,
		&c.Status, &c.RequestBytes, &c.ResponseBytes, &c.DurationUS,
		&client, &peer, &c.Workload, &c.UserAgent, &c.Tenant, &c.Environment,
		&c.RequestID, &c.TraceID, &c.ActorChain, &c.Mints, &qual)
	if err != nil {
		return nil, err
	}
	c.Time, c.Reporter, c.Credential.Kind = at.UTC(), schema.Reporter(reporter), schema.CredentialKind(kind)
	copy(c.ID[:], id)
	c.Credential.Verified, c.Decision = verified != 0, schema.Decision(decision)
	c.RouteSource, c.Quality = schema.RouteSource(route), schema.Quality(qual)
	if known != 0 {
		c.Scopes = append([]string{}, scopes...)
	}
	c.ClientAddress, c.PeerAddress = plainAddress(client), plainAddress(peer)
	return &c, nil
}

// plainAddress undoes how addresses are stored: IPv4 inside IPv6, none as ::.
func plainAddress(a netip.Addr) netip.Addr {
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a.Unmap()
}
