package gateway

import (
	"path/filepath"
	"testing"
)

func TestSmoke(t *testing.T) {
	dir := corpus(t)
	for _, pattern := range []string{"cloudtrail/*", "k8s-audit/falco", "k8s-audit/audit2rbac/demo.log", "k8s-audit/khi", "k8s-audit/crowdsec", "access-logs/envoy/*.*"} {
		files, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, file := range files {
			m, r, err := readFiles(t, Config{}, file)
			var calls, units uint64
			for _, in := range r.Inputs {
				calls += in.Calls
				units += in.Units
			}
			t.Logf("%s: units %d calls %d skipped %v err %v", file[len(dir):], units, calls, m.skipped, err)
			if len(m.calls) > 0 {
				t.Logf("   %s | %s", r.Inputs[0].Chosen, jsonOf(t, m.calls[0]))
			}
		}
	}
}
