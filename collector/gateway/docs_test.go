package gateway

import (
	"os"
	"strings"
	"testing"
)

// The page about presets shows one that works, and names every field.
func TestPresetDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/presets.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	if _, err := ParsePreset("docs/presets.md", []byte(example)); err != nil {
		t.Error(err)
	}
	for _, list := range [][]string{callFields, credentialFields} {
		for _, word := range list {
			if word != "" && !strings.HasPrefix(word, "k8s_") && !strings.HasPrefix(word, "cloud_") && !strings.Contains(string(page), "`"+word+"`") {
				t.Errorf("docs/presets.md does not name %s", word)
			}
		}
	}
	for kind := range fieldKinds {
		if !strings.Contains(string(page), "`"+kind+"`") {
			t.Errorf("docs/presets.md does not name the type %s", kind)
		}
	}
}
