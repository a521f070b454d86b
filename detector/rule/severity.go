package rule

import (
	"fmt"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// weight is how much damage an operation can do, and the terms it was weighed
// by, for people.
type weight struct {
	points int
	terms  []string
}

// weigh weighs an operation: what it does to data or how sensitive that is,
// whichever is worse, then where it stands.
//
//	0  reads, sensitivity 1 or 2      +1 in production
//	1  writes                         +1 at a service that faces the internet
//	2  deletes, sensitivity 3
//	3  administers, mints credentials, touches secrets; sensitivity 4
func (e *Env) weigh(service, operation string) weight {
	var w weight
	s := e.Catalog.ServiceNamed(service)
	class, sensitivity, stated := e.stated(service, operation)
	if !stated {
		class = ClassByName(operation)
	}
	w.add(classPoints(class), classTerm(class, stated))
	if p := sensitivityPoints(sensitivity); p > w.points {
		w.points = p
	}
	if sensitivity > 0 {
		w.terms = append(w.terms, fmt.Sprintf("sensitivity %d of 4", sensitivity))
	}
	w.place(s)
	return w
}

// stated is what the catalogue says about an operation.
func (e *Env) stated(service, operation string) (class schema.Class, sensitivity uint8, stated bool) {
	if s := e.Catalog.ServiceNamed(service); s != nil {
		if o := s.OperationNamed(operation); o != nil {
			return o.Class, o.Sensitivity, o.Class != schema.ClassUnstated
		}
	}
	return schema.ClassUnstated, 0, false
}

// class is what an operation does: as the catalogue says, else by its name.
func (e *Env) class(service, operation string) schema.Class {
	if class, _, stated := e.stated(service, operation); stated {
		return class
	}
	return ClassByName(operation)
}

// classOrTool is the class of an operation in words, or its name where it is a
// tool: agents are told apart by the tools they call.
func classOrTool(e *Env, service, operation string) string {
	if strings.HasPrefix(operation, "tools/call ") {
		return operation
	}
	return e.class(service, operation).String()
}

// place adds where a service stands.
func (w *weight) place(s *catalog.Service) {
	if s == nil {
		return
	}
	if isProduction(s.Environment) {
		w.add(1, "production")
	}
	if s.InternetFacing {
		w.add(1, "faces the internet")
	}
}

func (w *weight) add(points int, term string) {
	w.points += points
	if term != "" {
		w.terms = append(w.terms, term)
	}
}

// holder adds who holds the credential, as the catalogue says.
func (w *weight) holder(s *Subject) {
	if s.Declared == nil {
		return
	}
	switch s.Declared.Kind {
	case "third_party":
		w.add(1, "held by a third party")
	case "agent":
		w.add(1, "held by an agent")
	}
}

// severity turns points into a severity: from is what no points give, and
// every step points raise it by one.
func (w *weight) severity(from schema.Severity, step int) schema.Severity {
	return min(from+schema.Severity(w.points/step), schema.SeverityCritical)
}

// reason is the sentence that states the terms.
func (w *weight) reason(s schema.Severity) string {
	if len(w.terms) == 0 {
		return fmt.Sprintf("severity %s: nothing makes it worse", s)
	}
	return fmt.Sprintf("severity %s: %s", s, strings.Join(w.terms, ", "))
}

func classPoints(c schema.Class) int {
	switch c {
	case schema.ClassWrite:
		return 1
	case schema.ClassDelete:
		return 2
	case schema.ClassAdmin, schema.ClassSecret, schema.ClassMint:
		return 3
	}
	return 0
}

func classTerm(c schema.Class, stated bool) string {
	if c == schema.ClassUnstated {
		return ""
	}
	if stated {
		return "class " + c.String()
	}
	return "class " + c.String() + " by its name"
}

func sensitivityPoints(s uint8) int {
	switch s {
	case 3:
		return 2
	case 4:
		return 3
	}
	return 0
}

func isProduction(environment string) bool {
	switch strings.ToLower(environment) {
	case "production", "prod", "prd", "live":
		return true
	}
	return false
}

// ClassByName tells from an operation's name what it does, for severities only:
// by HTTP method, or by the verb that the name begins with. It tells more than
// read, write or delete only of what gives rights or secrets away in Kubernetes
// and AWS, where the name leaves no doubt.
func ClassByName(operation string) schema.Class {
	verb, rest, _ := strings.Cut(operation, " ")
	if class := classOfRight(verb, rest); class != schema.ClassUnstated {
		return class
	}
	switch verb {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return schema.ClassRead
	case "POST", "PUT", "PATCH":
		return schema.ClassWrite
	case "DELETE":
		return schema.ClassDelete
	case "get", "list", "watch":
		return schema.ClassRead
	case "create", "update", "patch":
		return schema.ClassWrite
	case "delete", "deletecollection":
		return schema.ClassDelete
	case "impersonate", "bind", "escalate", "approve", "sign":
		return schema.ClassAdmin
	}
	if i := strings.LastIndexAny(operation, ":/."); i >= 0 {
		operation = operation[i+1:]
	}
	for _, c := range []struct {
		class    schema.Class
		prefixes []string
	}{
		{schema.ClassRead, []string{"Get", "List", "Describe", "Head", "Read", "Search", "Query", "Scan", "Lookup", "BatchGet"}},
		{schema.ClassDelete, []string{"Delete", "Remove", "Terminate", "Destroy", "Purge", "BatchDelete"}},
		{schema.ClassWrite, []string{"Create", "Put", "Update", "Modify", "Set", "Add", "Attach", "Start", "Stop", "Run", "Write", "Send", "Publish", "Tag", "Untag", "Copy", "Upload"}},
	} {
		for _, p := range c.prefixes {
			if strings.HasPrefix(operation, p) {
				return c.class
			}
		}
	}
	return schema.ClassUnstated
}

// classOfRight knows the operations whose names say that rights, credentials or
// secrets change hands; unstated for all others.
func classOfRight(verb, object string) schema.Class {
	reads := verb == "get" || verb == "list" || verb == "watch"
	switch object {
	case "":
		service, action, _ := strings.Cut(verb, ":")
		action = strings.ToLower(action)
		switch strings.ToLower(service) {
		case "iam":
			if action != "" && !readsByName(action) {
				return schema.ClassAdmin
			}
		case "sts":
			if strings.HasPrefix(action, "assumerole") || action == "getsessiontoken" || action == "getfederationtoken" {
				return schema.ClassMint
			}
		case "secretsmanager":
			if action == "getsecretvalue" || action == "batchgetsecretvalue" {
				return schema.ClassSecret
			}
		}
	case "secrets":
		if reads {
			return schema.ClassSecret
		}
	case "serviceaccounts/token":
		if verb == "create" {
			return schema.ClassMint
		}
	case "roles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io",
		"clusterroles.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io":
		if !reads && verb == strings.ToLower(verb) {
			return schema.ClassAdmin
		}
	}
	return schema.ClassUnstated
}

// readsByName reports whether an IAM action of IAM itself, in lower case, only
// reads.
func readsByName(action string) bool {
	for _, p := range []string{"get", "list", "simulate", "generate"} {
		if strings.HasPrefix(action, p) {
			return true
		}
	}
	return false
}

// ClassOf says what an operation does: as the catalogue states, else by its
// name.
func (e *Env) ClassOf(service, operation string) schema.Class {
	if s := e.Catalog.ServiceNamed(service); s != nil {
		if o := s.OperationNamed(operation); o != nil && o.Class != schema.ClassUnstated {
			return o.Class
		}
	}
	return ClassByName(operation)
}
