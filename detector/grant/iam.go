package grant

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

var (
	errNoPolicy  = errors.New(`no "Statement" in this document; give a policy document, or the output of: aws iam get-account-authorization-details`)
	errPrincipal = errors.New("a statement names a Principal: this is the policy of a resource, which says who may use it, not what a credential may do")
	errNoName    = errors.New("a policy document does not say who has it; give the ARN or the name of the role or user")
)

// policyDocument is an IAM policy in all the forms that AWS writes.
type policyDocument struct {
	Statement statements
	wrapped
}

// wrapped are the forms that have the document inside.
type wrapped struct {
	Document      json.RawMessage
	PolicyVersion *struct{ Document json.RawMessage }
}

type statement struct {
	Sid                                      string
	Effect                                   string
	Action, NotAction, Resource, NotResource texts
	Condition                                map[string]json.RawMessage
	Principal, NotPrincipal                  json.RawMessage
}

// statements is a list, or one alone.
type statements []statement

// UnmarshalJSON reads either form.
func (s *statements) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte("[")) {
		return json.Unmarshal(data, (*[]statement)(s))
	}
	var one statement
	if err := json.Unmarshal(data, &one); err != nil {
		return err
	}
	*s = statements{one}
	return nil
}

// texts is a list of strings, or one alone.
type texts []string

// UnmarshalJSON reads either form.
func (t *texts) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte("[")) {
		return json.Unmarshal(data, (*[]string)(t))
	}
	var one string
	if err := json.Unmarshal(data, &one); err != nil {
		return err
	}
	*t = texts{one}
	return nil
}

// IAM reads AWS policies: one policy document (alone, or wrapped as the AWS
// command line and policy archives write it), held by the role or user that
// name names, by ARN or by plain name; or the account's authorization details,
// in which everyone who holds something is named (name is not used then). The
// grants it makes are those of the authority given (that of the account's
// service in the catalogue; empty is any).
//
// A statement with a Condition, or with NotResource, becomes a conditional
// entry.
func IAM(name, authority string, document []byte) (*Import, error) {
	switch {
	case len(document) > maxInput:
		return nil, errInputSize
	case !utf8.Valid(document):
		return nil, errInputText
	}
	out := &Import{}
	var account accountDetails
	if err := json.Unmarshal(document, &account); err != nil {
		var other *json.UnmarshalTypeError
		if errors.As(err, &other) && other.Field == "" {
			return nil, errNoPolicy // a list, a number: not the object that either is
		}
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	if account.any() {
		if err := out.account(&account, authority); err != nil {
			return nil, err
		}
		return out, nil
	}
	source := "policy of " + name
	if name == "" {
		source = "the policy"
	}
	grants, err := out.policy(document, authority, source)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, errNoName
	}
	arn := name
	if !strings.HasPrefix(name, "arn:") {
		arn = "arn:*:iam::*:*/" + name
		out.note("%s is recognised in every account; write its ARN into match", name)
	}
	out.Credentials = []catalog.Credential{{ID: name, Match: holderMatch(arn), Grants: grants}}
	return out, nil
}

// holderMatch recognises who has an ARN. A user's keys are known by their own
// ids, with the user as their subject.
func holderMatch(arn string) []catalog.Match {
	match := []catalog.Match{{ID: arn}}
	if !strings.Contains(arn, ":role/") {
		match = append(match, catalog.Match{Subject: arn})
	}
	return match
}

// policy turns a document into grants.
func (i *Import) policy(document json.RawMessage, authority, source string) ([]schema.Grant, error) {
	p, err := readPolicy(document, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	grants := []schema.Grant{}
	for n := range p.Statement {
		s := &p.Statement[n]
		id := s.Sid
		if id == "" {
			id = strconv.Itoa(n + 1)
		}
		from := source + ", statement " + id
		g, err := i.statement(s, from)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
		g.Authority = authority
		grants = append(grants, g)
	}
	if len(grants) == 0 {
		grants = append(grants, schema.Grant{Authority: authority, Dialect: schema.DialectIAM, Scopes: []string{}, Source: source})
	}
	return grants, nil
}

// readPolicy reads a document out of its wrappings; older APIs give it as a
// URL-encoded string.
func readPolicy(document json.RawMessage, depth int) (*policyDocument, error) {
	if depth > 3 {
		return nil, errNoPolicy
	}
	if bytes.HasPrefix(bytes.TrimSpace(document), []byte(`"`)) {
		var text string
		if err := json.Unmarshal(document, &text); err != nil {
			return nil, fmt.Errorf("read JSON: %w", err)
		}
		if !strings.HasPrefix(strings.TrimSpace(text), "{") {
			plain, err := url.QueryUnescape(text)
			if err != nil {
				return nil, fmt.Errorf("the document is a text that is not URL-encoded: %w", err)
			}
			text = plain
		}
		if !strings.HasPrefix(strings.TrimSpace(text), "{") {
			return nil, errNoPolicy
		}
		return readPolicy(json.RawMessage(text), depth+1)
	}
	var p policyDocument
	if err := json.Unmarshal(document, &p); err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	switch {
	case p.Statement != nil:
		return &p, nil
	case p.Document != nil:
		return readPolicy(p.Document, depth+1)
	case p.PolicyVersion != nil && p.PolicyVersion.Document != nil:
		return readPolicy(p.PolicyVersion.Document, depth+1)
	}
	return nil, errNoPolicy
}

func (i *Import) statement(s *statement, source string) (schema.Grant, error) {
	g := schema.Grant{Dialect: schema.DialectIAM, Source: source, Scopes: []string(s.Action), Conditional: len(s.Condition) > 0}
	switch s.Effect {
	case "Allow":
	case "Deny":
		g.Effect = schema.EffectDeny
	default:
		return g, fmt.Errorf("the Effect is %q, neither Allow nor Deny", s.Effect)
	}
	if present(s.Principal) || present(s.NotPrincipal) {
		return g, errPrincipal
	}
	switch {
	case (s.Action == nil) == (s.NotAction == nil):
		return g, errors.New("a statement has either Action or NotAction")
	case s.NotAction != nil && len(s.NotAction) == 0:
		return g, errors.New("the NotAction is empty")
	case s.NotAction != nil:
		g.Except = s.NotAction
	case g.Scopes == nil:
		g.Scopes = []string{}
	}
	for _, list := range [...]texts{s.Action, s.NotAction, s.Resource, s.NotResource} {
		if slices.ContainsFunc(list, func(t string) bool { return strings.TrimSpace(t) == "" }) {
			return g, errors.New("an Action or Resource is empty")
		}
	}
	for _, a := range append(slices.Clone(g.Scopes), g.Except...) {
		if a != "*" && !strings.Contains(a, ":") {
			i.note("%s: %q is no action (service:Action)", source, a)
		}
	}
	if g.Conditional {
		i.note("%s has a Condition: it neither allows nor refuses for certain", source)
	}
	if len(s.NotResource) > 0 {
		i.note("%s has a NotResource, which the catalogue cannot say: it neither allows nor refuses for certain", source)
		g.Conditional = true
	}
	if len(s.Resource) > 0 && !slices.Contains(s.Resource, "*") {
		g.Resources = s.Resource
	}
	return g, nil
}

func present(m json.RawMessage) bool { return len(m) > 0 && string(m) != "null" }
