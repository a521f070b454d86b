package decide

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/internal/corpus"
	"github.com/scopedrift/scopedrift/schema"
)

const (
	unknown         = schema.DecisionUnknown
	allowed         = schema.DecisionAllowed
	noEffect        = schema.DecisionNoEffect
	denied          = schema.DecisionDenied
	unauthenticated = schema.DecisionUnauthenticated
	failed          = schema.DecisionError
)

func TestHTTP(t *testing.T) {
	want := map[int]schema.Decision{
		101: allowed, 401: unauthenticated, 407: unauthenticated, 403: denied, 429: failed,
		404: noEffect, 409: noEffect, 410: noEffect, 412: noEffect, 422: noEffect,
	}
	for status := -1; status < 1000; status++ {
		d, ok := want[status]
		switch {
		case ok:
		case status >= 200 && status < 400:
			d = allowed
		case status >= 500 && status < 600:
			d = failed
		}
		if got := HTTP(status, nil); got != d {
			t.Errorf("HTTP(%d) = %v, want %v", status, got, d)
		}
	}
	for location, d := range map[string]schema.Decision{
		"/login": unauthenticated, "/Login?next=/orders": unauthenticated, "https://app.example/users/sign_in": unauthenticated,
		"https://idp.example/realms/x/protocol/openid-connect/auth?client_id=c": unauthenticated, "/oauth2/start?rd=/": unauthenticated,
		"https://login.microsoftonline.com/x": unauthenticated, "https://accounts.google.com": unauthenticated, "//idp.example/sso": unauthenticated,
		"/session/new": unauthenticated, "/login;jsessionid=1": unauthenticated, "https://idp.example/oauth2/v1/authorize": unauthenticated,
		"/orders/5": allowed, "/": allowed, "": allowed, "/blog/how-to-login-safely": allowed, "/loginhistory": allowed,
		"https://login.example.com.evil.example/x": allowed, "/orders?next=/login": allowed, "/sessions/5": allowed, "/orders#/login": allowed,
	} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			if got := HTTP(status, []byte(location)); got != d {
				t.Errorf("HTTP(%d, %q) = %v, want %v", status, location, got, d)
			}
		}
		if got := HTTP(200, []byte(location)); got != allowed {
			t.Errorf("HTTP(200, %q) = %v", location, got)
		}
		if got := HTTP(304, []byte(location)); got != allowed {
			t.Errorf("HTTP(304, %q) = %v", location, got)
		}
	}
}

func TestGRPC(t *testing.T) {
	want := []schema.Decision{
		allowed, unknown, unknown, unknown, failed, noEffect, noEffect, denied, failed, noEffect, noEffect, unknown, unknown, failed, failed, failed, unauthenticated,
	}
	for code := -1; code < 20; code++ {
		d := unknown
		if code >= 0 && code < len(want) {
			d = want[code]
		}
		if got := GRPC(code); got != d {
			t.Errorf("GRPC(%d) = %v, want %v", code, got, d)
		}
	}
}

func TestCloudTrail(t *testing.T) {
	for _, tt := range []struct {
		code, message string
		want          schema.Decision
	}{
		{"", "", allowed}, {"", "ConsoleLogin Success", allowed}, {"", "ConsoleLogin Failure", unauthenticated}, {"", "SwitchRole Success", allowed}, {"", "SwitchRole Failure", unknown},
		{"AccessDenied", "", denied}, {"AccessDeniedException", "", denied}, {"Client.UnauthorizedOperation", "", denied}, {"UnauthorizedOperation", "", denied},
		{"AWS.SimpleQueueService.AccessDenied", "", denied}, {"AuthorizationError", "", denied}, {"Client.AccessDenied", "", denied}, {"KMSAccessDeniedException", "", denied},
		{"NotAuthorizedException", "", denied}, {"NotAuthorizedException", "Incorrect username or password.", unauthenticated}, {"DirectoryUnauthorizedOperationException", "", denied},
		{"AccessDenied", "User: x is not authorized to perform: y with an explicit deny", denied}, {"403", "", denied},
		{"ExpiredToken", "", unauthenticated}, {"ExpiredTokenException", "", unauthenticated}, {"InvalidClientTokenId", "", unauthenticated}, {"SignatureDoesNotMatch", "", unauthenticated},
		{"AuthFailure", "", unauthenticated}, {"Client.AuthFailure", "", unauthenticated}, {"UnrecognizedClientException", "", unauthenticated}, {"", "Failed authentication", unauthenticated},
		{"Client.InvalidClientTokenId", "", unauthenticated}, {"AccessDenied", "The security token included in the request is expired", unauthenticated},
		{"ThrottlingException", "", failed}, {"Throttling", "", failed}, {"Client.RequestLimitExceeded", "", failed}, {"ServiceUnavailable", "", failed}, {"InternalFailure", "", failed},
		{"Server.InternalError", "", failed}, {"InternalServerException", "", failed}, {"LimitExceededException", "", failed}, {"KMSInternalException", "", unknown}, {"503", "", failed},
		{"ServiceQuotaExceededException", "", failed}, {"Server.InsufficientInstanceCapacity", "", failed}, {"Client.InstanceLimitExceeded", "", failed},
		{"NoSuchTagSet", "", noEffect}, {"NoSuchBucket", "", noEffect}, {"NoSuchEntityException", "", noEffect}, {"ReplicationConfigurationNotFoundError", "", noEffect},
		{"Client.InvalidInstanceID.NotFound", "", noEffect}, {"ResourceNotFoundException", "", noEffect}, {"TrailNotFoundException", "", noEffect}, {"BucketAlreadyOwnedByYou", "", noEffect},
		{"EntityAlreadyExistsException", "", noEffect}, {"ConditionalCheckFailedException", "", noEffect}, {"Client.InvalidPermission.Duplicate", "", noEffect},
		{"Client.InvalidPermission.NotFound", "", noEffect}, {"AWS.SimpleQueueService.NonExistentQueue", "", noEffect}, {"Client.IncorrectInstanceState", "", noEffect},
		{"404", "", noEffect}, {"Client.DryRunOperation", "", noEffect}, {"QueueDoesNotExist", "", noEffect}, {"DeleteConflict", "", noEffect}, {"Client.DependencyViolation", "", noEffect},
		{"ValidationException", "", unknown}, {"Client.InvalidParameterValue", "", unknown}, {"OperationNotPermitted", "", unknown}, {"MalformedPolicyDocument", "", unknown}, {"SomethingNew", "", unknown},
		{"SomethingNew", "User: arn:aws:iam::1:user/a is not authorized to perform: x:Y", denied}, {"400", "", unknown}, {"accessdenied", "", denied}, {"*", "", unknown},
		{strings.Repeat("a", 10_000), strings.Repeat("b", 10_000), unknown},
	} {
		if got := CloudTrail([]byte(tt.code), []byte(tt.message)); got != tt.want {
			t.Errorf("CloudTrail(%.40q, %.40q) = %v, want %v", tt.code, tt.message, got, tt.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { CloudTrail([]byte("Client.InvalidInstanceID.NotFound"), nil) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// TestCloudTrailTable holds the table itself: each line is well formed, and no
// line is dead because one before it always applies.
func TestCloudTrailTable(t *testing.T) {
	seen := map[string]bool{}
	n := 0
	for line := range strings.Lines(cloudTrailText) {
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		n++
		field := strings.Split(line, "\t")
		if len(field) != 3 || field[0] != "code" && field[0] != "message" || field[2] == "" {
			t.Fatalf("line %q is malformed", line)
		}
		var d schema.Decision
		if err := d.UnmarshalText([]byte(field[1])); err != nil {
			t.Errorf("line %q: %v", line, err)
		}
		if key := field[0] + field[2]; seen[key] {
			t.Errorf("line %q stands twice", line)
		} else {
			seen[key] = true
		}
	}
	table := cloudTrailTable()
	if got := len(table.exact) + len(table.patterns) + len(table.messages); got != n {
		t.Errorf("%d entries of %d lines", got, n)
	}
}

// TestCloudTrailCorpus decides every record of real accounts.
func TestCloudTrailCorpus(t *testing.T) {
	root := corpus.Path(t, "cloudtrail")
	for file, want := range map[string]map[schema.Decision]int{
		"opensearch-catalog-cloudtrail.ndjson.gz":    {allowed: 533, noEffect: 307},
		"crowdsec-aws-cloudtrail-postexploit.ndjson": {denied: 3},
		"otrf-ec2-proxy-s3-exfiltration.ndjson":      {allowed: 103},
	} {
		got := map[schema.Decision]int{}
		codes := map[string]schema.Decision{}
		for _, line := range corpus.Lines(t, filepath.Join(root, file)) {
			var r struct{ ErrorCode, ErrorMessage string }
			if json.Unmarshal(line, &r) != nil {
				continue
			}
			d := CloudTrail([]byte(r.ErrorCode), []byte(r.ErrorMessage))
			got[d]++
			codes[r.ErrorCode] = d
		}
		for d, n := range want {
			if got[d] != n {
				t.Errorf("%s: %d %v, want %d", file, got[d], d, n)
			}
		}
		t.Logf("%s: %v, codes %v", file, got, codes)
	}
}

func TestKubernetes(t *testing.T) {
	for _, tt := range []struct {
		code               int
		annotation, reason string
		want               schema.Decision
	}{
		{200, "allow", "", allowed}, {201, "allow", "", allowed}, {101, "allow", "", allowed}, {302, "allow", "", allowed}, {0, "allow", "", allowed},
		{403, "forbid", "", denied}, {200, "forbid", "", denied}, {0, "forbid", "", denied}, {401, "", "", unauthenticated}, {401, "forbid", "", unauthenticated},
		{403, "", "", denied}, {403, "", `pods is forbidden: User "ann" cannot list resource "pods"`, denied},
		{403, "", `users "bob" is forbidden: User "ann" cannot impersonate resource "users"`, denied},
		{403, "allow", `pods "x" is forbidden: exceeded quota: compute`, failed}, {403, "", `pods "x" is forbidden: exceeded quota: compute`, failed},
		{403, "allow", `admission webhook "x" denied the request: no`, noEffect}, {403, "", `pods "x" is forbidden: violates PodSecurity "restricted"`, noEffect},
		{403, "allow", "", noEffect}, {403, "allow", `user "ann" is attempting to grant RBAC permissions not currently held`, denied},
		{404, "allow", "", noEffect}, {404, "", "", noEffect}, {409, "allow", "", noEffect}, {410, "allow", "", noEffect}, {422, "allow", "Invalid", noEffect},
		{400, "allow", "", noEffect}, {400, "", "", unknown}, {415, "", "", unknown}, {429, "allow", "", failed}, {500, "allow", "", failed}, {504, "", "", failed},
		{0, "", "", unknown}, {100, "", "", unknown}, {700, "", "", unknown}, {-1, "", "", unknown}, {200, "something", "", allowed},
	} {
		if got := Kubernetes(tt.code, []byte(tt.annotation), []byte(tt.reason)); got != tt.want {
			t.Errorf("Kubernetes(%d, %q, %q) = %v, want %v", tt.code, tt.annotation, tt.reason, got, tt.want)
		}
	}
}

// TestKubernetesCorpus decides real audit records.
func TestKubernetesCorpus(t *testing.T) {
	got := map[schema.Decision]int{}
	for _, line := range corpus.Lines(t, corpus.Path(t, "k8s-audit", "audit2rbac", "demo.log")) {
		var e struct {
			Annotations    map[string]string
			ResponseStatus struct {
				Code            int
				Reason, Message string
			}
		}
		if json.Unmarshal(line, &e) == nil {
			got[Kubernetes(e.ResponseStatus.Code, []byte(e.Annotations["authorization.k8s.io/decision"]), []byte(e.ResponseStatus.Reason+e.ResponseStatus.Message))]++
		}
	}
	if got[allowed] != 26 || got[denied] != 11 || len(got) != 2 {
		t.Errorf("%v, want 26 allowed and 11 denied", got)
	}
}

func FuzzCloudTrail(f *testing.F) {
	f.Add([]byte("AccessDenied"), []byte(""))
	f.Add([]byte("****"), []byte("*a*b*"))
	f.Add([]byte("Client.Client."), []byte("Failed authentication"))
	f.Fuzz(func(t *testing.T, code, message []byte) {
		first := CloudTrail(code, message)
		if first != CloudTrail(bytes.Clone(code), bytes.Clone(message)) {
			t.Fatal("the same code is decided in two ways")
		}
		if first == allowed && len(code)+len(message) > 0 {
			t.Fatalf("error %q %q is allowed", code, message)
		}
		Kubernetes(len(code), code, message)
		HTTP(302, message)
	})
}

func BenchmarkCloudTrail(b *testing.B) {
	for _, code := range []string{"NoSuchTagSet", "Client.InvalidInstanceID.NotFound", "SomethingNew"} {
		text := []byte(code)
		b.Run(code, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				CloudTrail(text, nil)
			}
		})
	}
}
