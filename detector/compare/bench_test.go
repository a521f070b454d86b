package compare

import (
	"fmt"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

// BenchmarkJudge judges the same uses again and again, as a scan does.
func BenchmarkJudge(b *testing.B) {
	cat := loadText(b, tableCatalogue)
	c := New(cat)
	r := &Request{
		Declared: declaredAs(b, cat, "operator"), Kind: schema.KindServiceAccount, Service: "cluster", Operation: "get pods",
		Tenant: "web", RouteSource: schema.RouteFromSource, Groups: []string{"system:serviceaccounts", "system:authenticated"}, Time: day("2026-04-01"),
	}
	b.ReportAllocs()
	for b.Loop() {
		if j := c.Judge(r); j.Holding != Holds {
			b.Fatal(j.Reasons)
		}
	}
}

// BenchmarkJudgeAnew judges a use that was not seen before.
func BenchmarkJudgeAnew(b *testing.B) {
	cat := loadText(b, tableCatalogue)
	c := New(cat)
	declared := declaredAs(b, cat, "writer")
	scopes := make([][]string, 1<<16)
	for i := range scopes {
		scopes[i] = []string{"orders:write", fmt.Sprint("s", i)}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.Judge(&Request{
			Declared: declared, Kind: schema.KindOAuthClient, Service: "orders", Operation: "POST /orders",
			RouteSource: schema.RouteRule, Scopes: scopes[i%len(scopes)], Time: day("2026-04-01"),
		})
	}
}
