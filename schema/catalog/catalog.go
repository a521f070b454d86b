package catalog

import (
	"net/netip"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Catalog is a loaded catalogue. It is immutable: its fields are to be read,
// and its methods may be called by many goroutines at once.
type Catalog struct {
	// Services in the order of their files and lines.
	Services []*Service
	// Scopes are the declared scopes by name; a scope that is only used is not
	// among them.
	Scopes map[string]schema.Scope
	// Credentials in the order of their files and lines.
	Credentials []*Credential
	// Groups in the order of their files and lines.
	Groups []Group
	// Sources say what the logs cover; a source that is not declared has
	// unknown coverage.
	Sources []SourceCoverage
	// Changes are the approved ones, in the order of their files and lines.
	Changes []Change
	// Suppressions are what is not to be heard of for a while, in the order of
	// their files and lines.
	Suppressions []Suppression
	// Notes tell what was passed over in reading, such as parts of an OpenAPI
	// document that cannot be used.
	Notes []Note
	// Digest is the SHA-256, in hexadecimal, over name and bytes of every file
	// that was read, in the order of their names relative to the catalogue.
	Digest string

	byName   map[string]*Service
	hosts    hostTable
	matchers matcherIndex
}

// Empty returns a catalogue that knows nothing: what is used where the user
// gave none.
func Empty() *Catalog {
	c := &Catalog{Scopes: map[string]schema.Scope{}, Digest: digest(nil)}
	c.index()
	return c
}

// Service is an API that is called.
type Service struct {
	Name        string
	Environment string
	// Hosts are lower-case host names, "host:port", or patterns of the form
	// "*.example.com", which stand for every name below, at any depth.
	Hosts []string
	// BasePath is empty or begins, and does not end, with a slash. Templates
	// of operations do not include it.
	BasePath string
	// Authority is whose scopes count here; Name where none is given.
	Authority string
	Dialect   schema.Dialect
	// ScopeListAny says that the scopes listed in one OpenAPI requirement are
	// alternatives, rather than all needed.
	ScopeListAny bool
	Grant        schema.GrantMode
	// DemandOperation says that each operation needs the scope of its own
	// name, also one that Operations does not list.
	DemandOperation bool
	Tenant          TenantRule
	InternetFacing  bool
	// Workloads are names of the workloads that serve it, as declared of
	// credentials: globs, without what tells replicas. Nil is not stated.
	Workloads []string
	// Operations are those of the OpenAPI document in its order, with the
	// catalogue's laid over, and then those that only the catalogue has.
	Operations []*Operation
	// OpenAPI is the document's path as it was opened; empty is none.
	OpenAPI string
	// File and Line say where the service is declared.
	File string
	Line int

	byName  map[string]*Operation
	byShape map[string]*Operation
}

// TenantRule says where the tenant stands in a call. At most one field is set;
// both empty is no rule.
type TenantRule struct {
	// Path is a prefix after the base path, such as "/tenants/{tenant}". An
	// operation's template may or may not contain it: the full path is tried
	// first, then the path without the prefix.
	Path string
	// Host is a host name with one "{tenant}", such as "{tenant}.example.com".
	Host string

	path []segment
	// hostPrefix and hostSuffix are what stands around {tenant} in Host.
	hostPrefix, hostSuffix string
}

// Operation is the unit of comparison: a method and a route template, or a name
// that the API's own log gives.
type Operation struct {
	// Name is "METHOD /route/{template}" without the base path, or the API's
	// own name ("s3:GetObject", "get pods", "/pkg.Service/Method").
	Name string
	// Method and Template are empty for an operation that only a log names.
	Method   string
	Template string
	// Demand is what the operation needs.
	Demand schema.Demand
	Class  schema.Class
	// Sensitivity is 1 (harmless) to 4; 0 is unstated.
	Sensitivity uint8
	// RouteSource is RouteSpec for an operation of the OpenAPI document, else
	// RouteRule.
	RouteSource schema.RouteSource
}

// Credential is what the catalogue says about one credential: who it is, what
// it was granted and what it is meant for.
type Credential struct {
	// ID is the name people use.
	ID string
	// Match says which observed principals it is: any one entry.
	Match []Match
	// Kind is service, agent, ci, third_party, human, or empty.
	Kind     string
	Owner    string
	Workload string
	Purpose  string
	Grants   []schema.Grant
	// Approved is the intent; nil is not stated.
	Approved *Approved
	// Issued and Expires bound its life, [Issued, Expires); the zero time is
	// not stated.
	Issued  time.Time
	Expires time.Time
	// Revoked is when it was withdrawn, OwnerUntil when its owner left; the
	// zero time is not stated. A day means its end, as with Expires.
	Revoked, OwnerUntil time.Time
	// MaxTokenLifetime is the longest life of one of its tokens; 0 is not
	// stated.
	MaxTokenLifetime time.Duration
	// File and Line say where it is declared.
	File string
	Line int
}

// Match is one way to recognise a credential: every field that is set must
// match. The texts are globs in the sense of [Glob].
type Match struct {
	// Kind must be equal; nil is any.
	Kind *schema.CredentialKind
	// ID, Issuer, Subject and Client are globs; empty is any.
	ID, Issuer, Subject, Client string
}

// Approved is what the purpose of a credential needs; what lies beyond is
// off-purpose even if it is granted. A nil list does not restrict; an empty one
// approves nothing.
type Approved struct {
	Services []string
	// Operations are patterns in the sense of [PathGlob].
	Operations   []string
	Environments []string
	Tenants      []string
	Networks     []netip.Prefix
}

// Group is what every member of a presented group or role holds besides its
// own grants.
type Group struct {
	Name   string
	Grants []schema.Grant
	// File and Line say where it is declared.
	File string
	Line int
}

// SourceCoverage says what one source of logs covers.
type SourceCoverage struct {
	Name string
	// Services are names of declared services; nil is all of them.
	Services []string
	// Complete says that every call of these services is in the source.
	Complete bool
	// Sample is the share of calls that is kept, above 0, at most 1.
	Sample float64
	// From is inclusive, To exclusive; the zero time is unbounded.
	From, To time.Time
}

// Note tells what was passed over in reading, and where.
type Note struct {
	File string
	// Line is 0 where it is not known.
	Line int
	Text string
}

// Route is where a call goes.
type Route struct {
	Service *Service
	// Operation is nil where the service lists none for method and path.
	Operation *Operation
	// Tenant is the value that the service's tenant rule finds, as written
	// (not percent-decoded); empty where there is no rule or it does not
	// match. It shares memory with the host or path given.
	Tenant string
}

// ServiceNamed returns the service of that name, or nil.
func (c *Catalog) ServiceNamed(name string) *Service { return c.byName[name] }

// OperationNamed returns the operation of that name, or nil. Parameters need
// not be named alike: "GET /users/{id}" finds "GET /users/{user_id}".
func (s *Service) OperationNamed(name string) *Operation {
	if o := s.byName[name]; o != nil {
		return o
	}
	method, template, ok := splitOperation(name)
	if !ok {
		return nil
	}
	return s.byShape[shape(method, template)]
}

// index builds what lookups need, once everything is read and checked.
func (c *Catalog) index() {
	c.byName = make(map[string]*Service, len(c.Services))
	for _, s := range c.Services {
		c.byName[s.Name] = s
		s.index()
	}
	c.hosts = newHostTable(c.Services)
	c.matchers = newMatcherIndex(c.Credentials)
}

func (s *Service) index() {
	s.byName = make(map[string]*Operation, len(s.Operations))
	s.byShape = make(map[string]*Operation, len(s.Operations))
	for _, o := range s.Operations {
		s.byName[o.Name] = o
		if o.Template != "" {
			s.byShape[shape(o.Method, o.Template)] = o
		}
	}
}
