package catalog

type segment struct{}
type hostTable struct{}

func newHostTable([]*Service) hostTable { return hostTable{} }
func splitOperation(name string) (string, string, bool) { return "", "", false }
func shape(method, template string) string { return method + template }

// Route finds service, operation and tenant of a call.
func (c *Catalog) Route(host, method, path string) (Route, bool) { return Route{}, false }

// ServiceForHost finds the service of host and path.
func (c *Catalog) ServiceForHost(host, path string) *Service { return nil }
