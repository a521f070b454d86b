package gateway

import (
	"errors"
	"fmt"
	"strings"
)

// tenantRule is the user's own word on where the tenant stands.
type tenantRule struct{ where, name string }

var errTenantRule = errors.New("write header:NAME, query:NAME or field:NAME after --tenant")

func parseTenantRule(text string) (tenantRule, error) {
	if text == "" {
		return tenantRule{}, nil
	}
	where, name, _ := strings.Cut(text, ":")
	if name == "" || where != "header" && where != "query" && where != "field" {
		return tenantRule{}, fmt.Errorf("tenant %q: %w", text, errTenantRule)
	}
	return tenantRule{where, name}, nil
}

// paths are the log fields that the rule names. A header is logged under many
// names, all made of its own.
func (t tenantRule) paths(kind string) []string {
	switch t.where {
	case "field":
		return []string{t.name}
	case "header":
		lower := strings.ToLower(t.name)
		under := strings.ReplaceAll(lower, "-", "_")
		if kind == "text" {
			return []string{under, "http_" + under}
		}
		quote := func(s string) string { return `["` + s + `"]` }
		return []string{
			quote(under), quote(lower), quote(t.name), quote("http_" + under), quote("request_" + t.name),
			"request.headers" + quote(lower), "request.headers" + quote(t.name), "headers" + quote(lower), "headers" + quote(t.name),
		}
	}
	return nil
}
