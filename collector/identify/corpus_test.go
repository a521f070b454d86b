package identify

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/internal/corpus"
	"github.com/scopedrift/scopedrift/schema"
)

// objects calls do with each line of a file that is a JSON object.
func objects(t *testing.T, path string, do func(line []byte)) {
	t.Helper()
	for _, line := range corpus.Lines(t, path) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] == '{' {
			do(line)
		}
	}
}

type trailRecord struct {
	UserIdentity struct {
		Type, ARN, AccountID, PrincipalID, UserName, AccessKeyID, InvokedBy, IdentityProvider string
		SessionContext                                                                        struct {
			SessionIssuer  struct{ Type, ARN string }
			SourceIdentity string
		}
	}
}

func (r *trailRecord) evidence() *Evidence {
	u := &r.UserIdentity
	b := func(s string) []byte {
		if s == "" {
			return nil
		}
		return []byte(s)
	}
	return &Evidence{Cloud: Cloud{
		Type: b(u.Type), ARN: b(u.ARN), AccountID: b(u.AccountID), PrincipalID: b(u.PrincipalID), UserName: b(u.UserName),
		AccessKey: b(u.AccessKeyID), InvokedBy: b(u.InvokedBy), IssuerARN: b(u.SessionContext.SessionIssuer.ARN),
		IssuerType: b(u.SessionContext.SessionIssuer.Type), Provider: b(u.IdentityProvider), SourceIdentity: b(u.SessionContext.SourceIdentity),
	}}
}

// TestCloudTrailCorpus names the callers of real and published records.
func TestCloudTrailCorpus(t *testing.T) {
	root := corpus.Path(t, "cloudtrail")
	for _, tt := range []struct {
		file      string
		kinds     map[schema.CredentialKind]int
		roles     int
		sessionOf string
	}{
		{"opensearch-catalog-cloudtrail.ndjson.gz", map[schema.CredentialKind]int{schema.KindRoleSession: 768, schema.KindServiceAccount: 72}, 9, ""},
		{"otrf-ec2-proxy-s3-exfiltration.ndjson", map[schema.CredentialKind]int{schema.KindRoleSession: 11, schema.KindServiceAccount: 5}, 1, ""},
	} {
		i := New(testKey)
		kinds, roles, unnamed := map[schema.CredentialKind]int{}, map[string]bool{}, 0
		objects(t, filepath.Join(root, tt.file), func(line []byte) {
			var r trailRecord
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatal(err)
			}
			var out Identity
			i.Identify(r.evidence(), &out)
			kinds[out.Credential.Kind]++
			if out.Credential.ID == "" {
				unnamed++
			}
			if out.Credential.Kind == schema.KindRoleSession {
				roles[out.Credential.ID] = true
				if !strings.Contains(out.Credential.ID, ":role/") || !strings.Contains(out.Credential.Session, "/") {
					t.Errorf("%s: role session %+v", tt.file, out.Credential)
				}
			}
		})
		for k, n := range tt.kinds {
			if kinds[k] != n {
				t.Errorf("%s: %d of kind %v, want %d (all: %v)", tt.file, kinds[k], k, n, kinds)
			}
		}
		if len(roles) != tt.roles || unnamed > 0 {
			t.Errorf("%s: %d roles, want %d; %d without a name", tt.file, len(roles), tt.roles, unnamed)
		}
		t.Logf("%s: %v", tt.file, kinds)
	}
	// Published examples have every identity type, and fields missing.
	i, named, all := New(testKey), 0, 0
	objects(t, filepath.Join(root, "awsdocs-examples.ndjson"), func(line []byte) {
		var r trailRecord
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		var out Identity
		i.Identify(r.evidence(), &out)
		all++
		if out.Credential.ID != "" {
			named++
		}
		t.Logf("%-14s %v %s", r.UserIdentity.Type, out.Credential.Kind, out.Credential.ID)
	})
	if all != 30 || named < 27 {
		t.Errorf("%d of %d examples have a name", named, all)
	}
}

// TestKubernetesCorpus names the callers of audit records, of which some
// impersonate.
func TestKubernetesCorpus(t *testing.T) {
	type event struct {
		User, ImpersonatedUser struct {
			Username string
			Groups   []string
			Extra    map[string][]string
		}
	}
	read := func(pattern string) map[string]int {
		users := map[string]int{}
		files, _ := filepath.Glob(filepath.Join(corpus.Path(t), "k8s-audit", pattern))
		i := New(testKey)
		for _, f := range files {
			objects(t, f, func(line []byte) {
				var e event
				if err := json.Unmarshal(line, &e); err != nil || e.User.Username == "" {
					return
				}
				ev := Evidence{Kubernetes: Kubernetes{User: []byte(e.User.Username), Groups: list(e.User.Groups...),
					Impersonated: []byte(e.ImpersonatedUser.Username), ImpersonatedGroups: list(e.ImpersonatedUser.Groups...)}}
				if id := e.User.Extra["authentication.kubernetes.io/credential-id"]; len(id) > 0 {
					ev.Kubernetes.CredentialID = []byte(id[0])
				}
				var out Identity
				i.Identify(&ev, &out)
				users[out.Credential.Kind.String()+" "+out.Credential.ID]++
				if e.ImpersonatedUser.Username != "" && (len(out.ActorChain) != 1 || out.ActorChain[0] != e.User.Username) {
					t.Errorf("%s: actor chain %q, want the impersonator", f, out.ActorChain)
				}
			})
		}
		return users
	}
	users := read("audit2rbac/*.log")
	for who, n := range map[string]int{"user_token bob": 29, "service_account system:serviceaccount:ns1:sa1": 5, "user_token alice": 3} {
		if users[who] != n {
			t.Errorf("%d calls of %q, want %d (all: %v)", users[who], who, n, users)
		}
	}
	t.Log(read("khi/*"), read("falco/*"))
}
