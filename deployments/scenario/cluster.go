package scenario

import (
	"encoding/json"
	"fmt"
	"time"
)

// kubeUser is somebody who calls the cluster's API.
type kubeUser struct {
	name    string
	groups  []string
	address string
	agent   string
}

// serviceAccount returns the user that a service account is.
func serviceAccount(namespace, name, agent string) kubeUser {
	return kubeUser{
		name:    "system:serviceaccount:" + namespace + ":" + name,
		groups:  []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
		address: "10.20.9.21", agent: agent,
	}
}

var (
	deployer    = serviceAccount("ci", "deployer", "kubectl/v1.33.2")
	prometheus  = serviceAccount("monitoring", "prometheus", "Prometheus/3.5.0")
	certManager = serviceAccount("cert-manager", "cert-manager", "cert-manager/v1.18")
	// debugger was made for one bad night and never removed.
	debugger = serviceAccount("tools", "debugger", "kubectl/v1.29.0")
	platform = kubeUser{
		name: "oidc:noor@harbourline.example", groups: []string{"harbourline:platform", "system:authenticated"},
		address: "10.70.2.31", agent: "kubectl/v1.33.2",
	}
	node = kubeUser{name: "system:node:worker-2", groups: []string{"system:nodes", "system:authenticated"}, address: "10.20.0.12", agent: "kubelet/v1.33.2"}
)

// object is what a cluster call is about.
type object struct{ verb, group, resource, sub, namespace, name string }

// uri returns the request URI that the API server logs.
func (o object) uri() string {
	uri := "/api/v1"
	if o.group != "" {
		uri = "/apis/" + o.group + "/v1"
	}
	if o.namespace != "" {
		uri += "/namespaces/" + o.namespace
	}
	uri += "/" + o.resource
	if o.name != "" {
		uri += "/" + o.name
	}
	if o.sub != "" {
		uri += "/" + o.sub
	}
	return uri
}

// kube writes one call to the cluster's audit log, in both of its stages.
func (w *world) kube(u kubeUser, at time.Time, o object, code int) {
	at = at.Truncate(time.Microsecond)
	user := map[string]any{"username": u.name, "groups": u.groups}
	if len(u.groups) > 0 && u.groups[0] == "system:serviceaccounts" {
		user["extra"] = map[string][]string{
			"authentication.kubernetes.io/credential-id": {"JTI=" + fmt.Sprintf("%08x-0000-4000-a000-000000000000", at.Truncate(time.Hour).Unix())},
		}
	}
	ref := map[string]string{"resource": o.resource, "apiVersion": "v1"}
	for key, value := range map[string]string{"apiGroup": o.group, "subresource": o.sub, "namespace": o.namespace, "name": o.name} {
		if value != "" {
			ref[key] = value
		}
	}
	decision, reason := "allow", ""
	if code == 403 {
		decision = "forbid"
	}
	audit := map[string]any{
		"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": w.uuid(), "stage": "RequestReceived",
		"requestURI": o.uri(), "verb": o.verb, "user": user, "sourceIPs": []string{u.address}, "userAgent": u.agent, "objectRef": ref,
		"requestReceivedTimestamp": at.Format("2006-01-02T15:04:05.000000Z"), "stageTimestamp": at.Format("2006-01-02T15:04:05.000000Z"),
	}
	w.put("cluster/audit.log", "cluster", at, encode(audit))
	done := at.Add(time.Duration(1+w.rand.IntN(40)) * time.Millisecond)
	audit["stage"] = "ResponseComplete"
	audit["stageTimestamp"] = done.Format("2006-01-02T15:04:05.000000Z")
	status := map[string]any{"metadata": map[string]any{}, "code": code}
	if code == 403 {
		status["status"], status["reason"] = "Failure", "Forbidden"
		status["message"] = fmt.Sprintf("%s is forbidden: User %q cannot %s resource %q in API group %q", o.resource, u.name, o.verb, o.resource, o.group)
	}
	audit["responseStatus"] = status
	audit["annotations"] = map[string]string{"authorization.k8s.io/decision": decision, "authorization.k8s.io/reason": reason}
	w.put("cluster/audit.log", "cluster", done, encode(audit))
}

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings and numbers always encode
	}
	return text
}

// repeat calls tell at random moments, perHour times in each active hour.
func (w *world) repeat(perHour float64, when schedule, tell func(time.Time)) {
	for hour := Start; hour.Before(End); hour = hour.Add(time.Hour) {
		mean := perHour * when(hour)
		n := int(mean)
		if w.rand.Float64() < mean-float64(n) {
			n++
		}
		for range n {
			tell(hour.Add(time.Duration(w.rand.Int64N(int64(time.Hour)))))
		}
	}
}

// cluster tells the month of the Kubernetes cluster.
func (w *world) cluster() {
	usual := func(u kubeUser, perHour float64, when schedule, objects ...object) {
		w.repeat(perHour, when, func(at time.Time) { w.kube(u, at, objects[w.rand.IntN(len(objects))], 200) })
	}
	usual(prometheus, 3, always,
		object{"list", "", "pods", "", "", ""}, object{"watch", "", "pods", "", "", ""}, object{"list", "", "nodes", "", "", ""},
		object{"list", "", "services", "", "", ""}, object{"watch", "", "endpoints", "", "", ""})
	usual(certManager, 2, always,
		object{"list", "cert-manager.io", "certificates", "", "", ""}, object{"watch", "cert-manager.io", "issuers", "", "", ""},
		object{"update", "cert-manager.io", "certificates", "", "shop", "storefront"}, object{"update", "", "secrets", "", "shop", "storefront-tls"},
		object{"get", "", "secrets", "", "shop", "storefront-tls"})
	usual(deployer, 1, office,
		object{"get", "apps", "deployments", "", "shop", "orders"}, object{"patch", "apps", "deployments", "", "shop", "orders"},
		object{"list", "", "pods", "", "shop", ""}, object{"get", "", "pods", "log", "shop", "orders-7d4b9c-x2x4p"})
	usual(platform, .4, office,
		object{"list", "", "pods", "", "shop", ""}, object{"get", "apps", "deployments", "", "shop", "payments"}, object{"list", "", "namespaces", "", "", ""})
	usual(node, 1, always,
		object{"get", "", "nodes", "", "", "worker-2"}, object{"patch", "", "nodes", "status", "", "worker-2"})
	usual(debugger, .02, always, object{"list", "", "pods", "", "shop", ""}, object{"get", "", "pods", "log", "shop", "payments-5f6d8-k9s2w"})
}
