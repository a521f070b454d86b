package scenario

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// caller is somebody who calls services of the mesh.
type caller struct {
	// client, scopes and subject are of its token; empty without one.
	client, subject, scopes string
	// apiClient is the name the gateway gives to an API key's holder.
	apiClient string
	// spiffe is the workload's identity in the mesh; callers from outside
	// come through the ingress and have its identity.
	spiffe string
	// address is where it calls from; the last number varies.
	address string
	agent   string
	// trace is the trace that its calls are parts of, each of its own where it
	// is empty; lasts how many milliseconds a call takes, some where it is 0.
	trace string
	lasts int
}

const (
	issuer  = "https://idp.harbourline.example"
	ingress = "spiffe://harbourline.example/ns/edge/sa/ingress"
)

// inside returns a caller that is a workload of namespace shop with its own
// token.
func inside(client, scopes string) caller {
	return caller{
		client: client, subject: client, scopes: scopes, address: "10.20.3.%d",
		spiffe: "spiffe://harbourline.example/ns/shop/sa/" + client, agent: client + "/2.4 (Go-http-client/2.0)",
	}
}

// outside returns a caller that comes through the ingress with a token.
func outside(client, scopes, address, agent string) caller {
	return caller{client: client, subject: client, scopes: scopes, address: address, spiffe: ingress, agent: agent}
}

// claims is the token payload that the gateway writes to the log.
type claims struct {
	Issuer   string `json:"iss"`
	Client   string `json:"azp"`
	Subject  string `json:"sub"`
	Scope    string `json:"scope"`
	Audience string `json:"aud"`
	ID       string `json:"jti"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

// meshLine is an access log line of a sidecar: Istio's default names and the
// identity fields that the product documents.
type meshLine struct {
	Authority     string  `json:"authority"`
	BytesReceived int     `json:"bytes_received"`
	BytesSent     int     `json:"bytes_sent"`
	Local         string  `json:"downstream_local_address"`
	PeerURISAN    string  `json:"downstream_peer_uri_san"`
	Remote        string  `json:"downstream_remote_address"`
	Duration      int     `json:"duration"`
	JWT           *claims `json:"jwt"`
	APIClient     *string `json:"api_client"`
	Method        string  `json:"method"`
	Path          string  `json:"path"`
	Protocol      string  `json:"protocol"`
	RequestID     string  `json:"request_id"`
	Code          int     `json:"response_code"`
	Details       string  `json:"response_code_details"`
	Flags         string  `json:"response_flags"`
	Route         string  `json:"route_name"`
	Start         string  `json:"start_time"`
	Traceparent   string  `json:"traceparent"`
	Cluster       string  `json:"upstream_cluster"`
	Host          string  `json:"upstream_host"`
	Agent         string  `json:"user_agent"`
	Forwarded     *string `json:"x_forwarded_for"`
}

// call writes one call of a caller to a service.
func (w *world) call(c *caller, at time.Time, service, method, path string, status int) {
	at = at.Truncate(time.Millisecond)
	address := c.address
	if strings.Contains(address, "%d") {
		address = fmt.Sprintf(address, 10+w.rand.IntN(40))
	}
	l := meshLine{
		Authority: service + ".harbourline.example", BytesReceived: w.rand.IntN(900), BytesSent: 120 + w.rand.IntN(9000),
		Local: "10.20.8.15:8080", PeerURISAN: c.spiffe, Remote: address + ":" + fmt.Sprint(30000+w.rand.IntN(30000)),
		Duration: 2 + w.rand.IntN(180), Method: method, Path: path, Protocol: "HTTP/2", RequestID: w.uuid(), Code: status,
		Details: "via_upstream", Flags: "-", Route: "default", Start: at.Format("2006-01-02T15:04:05.000Z"),
		Traceparent: "00-" + w.hexID(16) + "-" + w.hexID(8) + "-01", Cluster: "inbound|8080||", Host: "127.0.0.1:8080", Agent: c.agent,
	}
	if c.trace != "" {
		l.Traceparent = "00-" + c.trace + "-" + w.hexID(8) + "-01"
	}
	if c.lasts > 0 {
		l.Duration = c.lasts
	}
	if c.spiffe == ingress {
		l.Forwarded = &address
	}
	if status == 403 {
		l.Details = "rbac_access_denied_matched_policy[none]"
	}
	if c.client != "" {
		issued := at.Truncate(time.Hour)
		l.JWT = &claims{
			Issuer: issuer, Client: c.client, Subject: c.subject, Scope: c.scopes, Audience: "harbourline",
			ID: fmt.Sprintf("%s-%s-%x", c.client, strings.TrimPrefix(c.subject, "user:"), issued.Unix()), IssuedAt: issued.Unix(), Expires: issued.Add(2 * time.Hour).Unix(),
		}
	}
	if c.apiClient != "" {
		l.APIClient = &c.apiClient
	}
	text, err := json.Marshal(l)
	if err != nil {
		panic(err) // a struct of strings and numbers always encodes
	}
	name := "mesh/" + service + ".log"
	if service == "orders" {
		name += ".gz"
	}
	w.put(name, "mesh", at, text)
}

// habit is what a caller does again and again.
type habit struct {
	caller  caller
	service string
	method  string
	// path may hold {tenant}, {n} (an object's number) and {sku}.
	path string
	// perHour is the mean number of calls in an active hour; when says which
	// hours those are.
	perHour float64
	when    schedule
	// status is the usual answer; failing is the share of calls that end in
	// something else (404, 429, 500, 503, 401).
	status  int
	failing float64
	tenants []string
}

// schedule says whether an hour is an active one, and how active (0..1).
type schedule func(time.Time) float64

func always(time.Time) float64 { return 1 }

// daylight follows the customers: busy by day, quiet at night.
func daylight(t time.Time) float64 {
	shape := [24]float64{.1, .05, .05, .05, .05, .1, .3, .6, .9, 1, 1, 1, .9, 1, 1, 1, .9, .9, .8, .8, .7, .5, .3, .2}
	return shape[t.Hour()]
}

// office is the working day.
func office(t time.Time) float64 {
	if day := t.Weekday(); day == time.Saturday || day == time.Sunday || t.Hour() < 8 || t.Hour() > 17 {
		return 0
	}
	return 1
}

// at returns a schedule active in one hour of each day.
func at(hour int) schedule {
	return func(t time.Time) float64 {
		if t.Hour() == hour {
			return 1
		}
		return 0
	}
}

// live lets a habit run through the month.
func (w *world) live(h habit) {
	for hour := Start; hour.Before(End); hour = hour.Add(time.Hour) {
		mean := h.perHour * h.when(hour)
		n := int(mean)
		if w.rand.Float64() < mean-float64(n) {
			n++
		}
		for range n {
			at := hour.Add(time.Duration(w.rand.Int64N(int64(time.Hour))))
			status := h.status
			if w.rand.Float64() < h.failing {
				status = []int{404, 429, 500, 503, 401}[w.rand.IntN(5)]
			}
			c := h.caller
			w.call(&c, at, h.service, h.method, w.concrete(h), status)
		}
	}
}

// concrete fills in a habit's path.
func (w *world) concrete(h habit) string {
	path := strings.ReplaceAll(h.path, "{n}", fmt.Sprint(4000+w.rand.IntN(900)))
	path = strings.ReplaceAll(path, "{sku}", fmt.Sprintf("SKU-%04d", 1000+w.rand.IntN(400)))
	if len(h.tenants) > 0 {
		path = strings.ReplaceAll(path, "{tenant}", h.tenants[w.rand.IntN(len(h.tenants))])
	}
	return path
}
