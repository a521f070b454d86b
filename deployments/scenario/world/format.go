package world

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// log writes the lines of a call, unless an ablation leaves it out. What is left
// out is decided apart from the world's chance, so that the same happens in it.
func (w *world) log(d *deed, took time.Duration) {
	w.lines++
	pool := max(d.from.pool, 1)
	if strings.Contains(d.from.address, "%d") {
		d.from.address = fmt.Sprintf(d.from.address, 10+w.rand.IntN(pool))
	}
	ids := [3]string{w.uuid(), w.hexID(8), w.hexID(8)}
	if w.cfg.Missing > 0 && rand.New(rand.NewPCG(w.cfg.Seed, w.lines)).Float64() < w.cfg.Missing {
		return
	}
	w.truth.Lines++
	switch d.service {
	case w.cloud:
		w.trail(d, ids)
	case w.cluster:
		w.audit(d, ids, took)
	case w.portal:
		w.page(d)
	default:
		w.access(d, ids, took)
	}
}

// claims is the token payload that the gateway writes to the log.
type claims struct {
	Issuer   string `json:"iss"`
	Client   string `json:"azp"`
	Subject  string `json:"sub"`
	Scope    string `json:"scope,omitempty"`
	Audience string `json:"aud"`
	ID       string `json:"jti"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

// accessLine is an access log line of a sidecar: Istio's default names and the
// identity fields that the product documents.
type accessLine struct {
	Authority   string  `json:"authority"`
	Received    int     `json:"bytes_received"`
	Sent        int     `json:"bytes_sent"`
	Peer        string  `json:"downstream_peer_uri_san"`
	Remote      string  `json:"downstream_remote_address"`
	Duration    int64   `json:"duration"`
	JWT         *claims `json:"jwt,omitempty"`
	APIClient   string  `json:"api_client,omitempty"`
	Method      string  `json:"method"`
	Path        string  `json:"path"`
	RequestID   string  `json:"request_id,omitempty"`
	Code        int     `json:"response_code"`
	Details     string  `json:"response_code_details"`
	Flags       string  `json:"response_flags"`
	Started     string  `json:"start_time"`
	Traceparent string  `json:"traceparent,omitempty"`
	Cluster     string  `json:"upstream_cluster"`
	Agent       string  `json:"user_agent"`
	Tenant      string  `json:"x_tenant,omitempty"`
}

// access writes a call to a service's access log.
func (w *world) access(d *deed, ids [3]string, took time.Duration) {
	c := d.by
	path := strings.ReplaceAll(d.op.path, "{id}", d.id)
	l := accessLine{
		Authority: d.service.host, Received: 100 + len(d.id)*7, Sent: 200 + int(hash(path)%9000), Peer: d.from.spiffe,
		Remote: d.from.address + ":41234", Duration: took.Milliseconds(), Method: d.op.method, RequestID: ids[0],
		Code: d.status, Details: "via_upstream", Flags: "-", Started: d.at.Format("2006-01-02T15:04:05.000Z"),
		Traceparent: "00-" + d.trace + "-" + ids[1] + "-01", Cluster: "inbound|8080||", Agent: d.from.agent,
	}
	if strings.Contains(d.from.address, ":") {
		l.Remote = "[" + d.from.address + "]:41234"
	}
	if d.service.tenanted {
		path = "/tenants/" + d.tenant + path
	} else {
		l.Tenant = d.tenant
	}
	l.Path = path
	if w.cfg.Traces {
		l.Traceparent, l.RequestID = "", ""
	}
	if d.status == 403 {
		l.Details = "rbac_access_denied_matched_policy[none]"
	}
	switch c.auth {
	case "key":
		l.APIClient = c.client
	case "jwt":
		issued := d.at.Truncate(time.Hour)
		l.JWT = &claims{Issuer: w.issuer(), Client: c.client, Subject: c.client, Audience: w.domain,
			ID: fmt.Sprintf("%s-%x", c.client, issued.Unix()), IssuedAt: issued.Unix(), Expires: issued.Add(2 * time.Hour).Unix()}
		if d.subject != "" {
			l.JWT.Subject, l.JWT.ID = d.subject, fmt.Sprintf("%s-%x", d.subject, issued.Unix())
		}
		if !w.cfg.Grants {
			l.JWT.Scope = strings.Join(append(w.presented(c, d.at), d.presents...), " ")
		}
	}
	w.put("mesh/"+d.service.name+".log", encode(l))
}

// presented is what a credential's token says it holds at a moment.
func (w *world) presented(c *credential, at time.Time) []string {
	list := append([]string(nil), c.scopes...)
	for _, s := range laterNames(c) {
		if !at.Before(c.later[s]) {
			list = append(list, s)
		}
	}
	return list
}

// page writes a call to the portal's web server log, which names the virtual
// host.
func (w *world) page(d *deed) {
	w.put("portal/access.log", fmt.Appendf(nil, `%s:80 %s - %s [%s] "%s %s HTTP/1.1" %d %d "-" "%s"`, d.service.host, d.from.address, d.by.client,
		d.at.Format("02/Jan/2006:15:04:05 -0700"), d.op.method, strings.ReplaceAll(d.op.path, "{id}", d.id), d.status, 400+hash(d.id)%5000, d.from.agent))
}

// trail writes a call to the cloud's audit trail.
func (w *world) trail(d *deed, ids [3]string) {
	c := d.by
	at := d.at.Truncate(time.Second)
	key := c.key
	identity := map[string]any{"accountId": w.account}
	if c.auth == "user" {
		identity["type"], identity["userName"], identity["principalId"] = "IAMUser", c.client, "AIDAEXAMPLE"+padded(c.name)
		identity["arn"] = "arn:aws:iam::" + w.account + ":user/" + c.client
	} else {
		session := c.session
		if d.session != "" {
			session = d.session
		}
		if key == "" {
			key = w.sessionKey(c, at)
		}
		principal := "AROAEXAMPLE" + padded(c.name)
		identity["type"], identity["principalId"] = "AssumedRole", principal+":"+session
		identity["arn"] = "arn:aws:sts::" + w.account + ":assumed-role/" + c.role + "/" + session
		identity["sessionContext"] = map[string]any{
			"sessionIssuer": map[string]string{"type": "Role", "principalId": principal, "arn": w.roleARN(c), "accountId": w.account, "userName": c.role},
			"attributes":    map[string]string{"creationDate": at.Truncate(12 * time.Hour).Format(time.RFC3339), "mfaAuthenticated": "false"},
		}
	}
	if d.key != "" {
		key = d.key
	}
	identity["accessKeyId"] = key
	source, name, _ := strings.Cut(d.op.name, ":")
	trail := map[string]any{
		"eventVersion": "1.10", "userIdentity": identity, "eventTime": at.Format(time.RFC3339), "eventSource": source + ".amazonaws.com",
		"eventName": name, "awsRegion": "eu-central-1", "sourceIPAddress": d.from.address, "userAgent": d.from.agent, "responseElements": nil,
		"requestID": ids[1] + ids[2], "eventID": ids[0], "readOnly": d.op.class == "read", "eventType": "AwsApiCall", "managementEvent": true,
		"recipientAccountId": w.account, "eventCategory": "Management",
	}
	switch {
	case d.status == 403:
		trail["errorCode"], trail["errorMessage"] = "AccessDenied", "User is not authorized to perform: "+d.op.name
	case d.status == 404:
		trail["errorCode"], trail["errorMessage"] = "NoSuchKey", "The specified key does not exist."
	case d.status >= 400:
		trail["errorCode"], trail["errorMessage"] = "ThrottlingException", "Rate exceeded"
	}
	w.parameters(trail, d, source, name)
	w.put("cloud/trail.ndjson", encode(trail))
}

// parameters fills in what a cloud call is about, and what it issued.
func (w *world) parameters(trail map[string]any, d *deed, source, name string) {
	switch {
	case source == "s3":
		bucket := w.domain[:4] + "-" + d.by.name
		parameters, arn := map[string]any{"bucketName": bucket}, "arn:aws:s3:::"+bucket
		if name != "ListObjects" {
			parameters["key"], arn = "part-"+d.id, arn+"/part-"+d.id
		}
		trail["requestParameters"], trail["resources"] = parameters, []map[string]string{{"ARN": arn, "accountId": w.account}}
	case source == "secretsmanager":
		trail["requestParameters"] = map[string]any{"secretId": d.by.name + "/secret-" + d.id}
	case name == "AssumeRole":
		trail["requestParameters"] = map[string]any{"roleArn": "arn:aws:iam::" + w.account + ":role/" + d.mintsFor, "roleSessionName": "session"}
		if d.mints != "" && d.status < 300 && !w.cfg.Mints {
			trail["responseElements"] = map[string]any{"credentials": map[string]string{"accessKeyId": d.mints, "expiration": d.at.Add(12 * time.Hour).Format("Jan 2, 2006 3:04:05 PM")},
				"assumedRoleUser": map[string]string{"arn": "arn:aws:sts::" + w.account + ":assumed-role/" + d.mintsFor + "/session"}}
		}
	case name == "CreateAccessKey":
		trail["requestParameters"] = map[string]any{"userName": d.mintsFor}
		if d.mints != "" && d.status < 300 && !w.cfg.Mints {
			trail["responseElements"] = map[string]any{"accessKey": map[string]string{"accessKeyId": d.mints, "userName": d.mintsFor, "status": "Active"}}
		}
	}
}

func (w *world) roleARN(c *credential) string { return "arn:aws:iam::" + w.account + ":role/" + c.role }

// sessionKey is the temporary key that a role has in a half day.
func (w *world) sessionKey(c *credential, at time.Time) string {
	return fakeKey("ASIAEXAMPLE", fmt.Sprintf("%s/%s/%d", w.domain, c.name, at.Truncate(12*time.Hour).Unix()))
}

// fakeKey makes a key id of the usual length that says it is an example.
func fakeKey(prefix, from string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	h := hash(from)
	b := []byte(prefix)
	for len(b) < 20 {
		b = append(b, letters[h%32])
		h /= 32
	}
	return string(b)
}

func padded(name string) string { return fakeKey("", name)[:10] }

// audit writes a call to the cluster's audit log.
func (w *world) audit(d *deed, ids [3]string, took time.Duration) {
	c := d.by
	verb, resource, _ := strings.Cut(d.op.name, " ")
	name := "system:serviceaccount:" + c.namespace + ":" + c.name
	ref := map[string]string{"resource": resource, "apiVersion": "v1", "namespace": c.namespace}
	uri := "/api/v1/namespaces/" + c.namespace + "/" + resource
	if verb == "get" || verb == "delete" {
		ref["name"], uri = resource+"-"+d.id, uri+"/"+resource+"-"+d.id
	}
	const micro = "2006-01-02T15:04:05.000000Z"
	decision, status := "allow", map[string]any{"metadata": map[string]any{}, "code": d.status}
	if d.status == 403 {
		decision = "forbid"
		status["status"], status["reason"] = "Failure", "Forbidden"
	}
	w.put("cluster/audit.log", encode(map[string]any{
		"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": ids[0], "stage": "ResponseComplete", "requestURI": uri, "verb": verb,
		"user":      map[string]any{"username": name, "groups": []string{"system:serviceaccounts", "system:serviceaccounts:" + c.namespace, "system:authenticated"}},
		"sourceIPs": []string{d.from.address}, "userAgent": d.from.agent, "objectRef": ref, "responseStatus": status,
		"requestReceivedTimestamp": d.at.Format(micro), "stageTimestamp": d.at.Add(took).Format(micro),
		"annotations": map[string]string{"authorization.k8s.io/decision": decision, "authorization.k8s.io/reason": ""},
	}))
}

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps and structs of strings and numbers always encode
	}
	return text
}
