package grant_test

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"github.com/scopedrift/scopedrift/detector/grant"
)

// What is imported must load as a catalogue, whatever the input was.
func FuzzRBAC(f *testing.F) {
	f.Add([]byte("kind: ClusterRole\nmetadata: {name: r}\nrules:\n- {apiGroups: [\"\"], resources: [pods], verbs: [get]}\n---\n" +
		"kind: ClusterRoleBinding\nmetadata: {name: b}\nroleRef: {kind: ClusterRole, name: r}\nsubjects: [{kind: Group, name: g}]\n"))
	f.Add([]byte(`{"kind": "ClusterRoleBindingList", "items": [{"metadata": {"name": "a"}, "roleRef": {"kind": "ClusterRole", "name": "b"}, "subjects": [{"kind": "User", "name": "c"}]}]}`))
	f.Add([]byte("kind: RoleBinding\nsubjects: [{kind: User, name: \"*\"}]\n"))
	f.Fuzz(func(t *testing.T, document []byte) {
		imported, err := grant.RBAC("prod", document)
		if err != nil || !tame(imported) {
			return
		}
		sameAsLoaded(t, imported, load(t, imported, clusterService))
	})
}

func FuzzIAM(f *testing.F) {
	f.Add("worker", []byte(policy))
	f.Add(role, []byte(`{"PolicyVersion": {"Document": "%7B%22Statement%22%3A%5B%5D%7D"}}`))
	f.Add("", []byte(`{"UserDetailList": [{"UserName": "a", "Arn": "b", "GroupList": ["c"]}]}`))
	f.Fuzz(func(t *testing.T, name string, document []byte) {
		imported, err := grant.IAM(name, "aws/123456789012", document)
		if err != nil || !tame(imported) {
			return
		}
		load(t, imported, cloudService)
	})
}

// tame reports whether an import has only names that a catalogue takes: it
// refuses empty, blank and repeated ones, and wants UTF-8.
func tame(imported *grant.Import) bool {
	seen := map[string]bool{}
	good := func(s string) bool {
		ok := len(bytes.TrimSpace([]byte(s))) > 0 && utf8.ValidString(s)
		return ok
	}
	for _, g := range imported.Groups {
		if !good(g.Name) || seen["g"+g.Name] {
			return false
		}
		seen["g"+g.Name] = true
	}
	for _, c := range imported.Credentials {
		if !good(c.ID) || seen["c"+c.ID] {
			return false
		}
		seen["c"+c.ID] = true
	}
	return true
}
