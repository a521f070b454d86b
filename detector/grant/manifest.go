package grant

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// manifest is a Kubernetes object, as far as RBAC goes.
type manifest struct {
	Kind     string `json:"kind" yaml:"kind"`
	Metadata struct {
		Name      string            `json:"name" yaml:"name"`
		Namespace string            `json:"namespace" yaml:"namespace"`
		Labels    map[string]string `json:"labels" yaml:"labels"`
	} `json:"metadata" yaml:"metadata"`
	Items           []manifest   `json:"items" yaml:"items"`
	Rules           []policyRule `json:"rules" yaml:"rules"`
	AggregationRule *struct {
		Selectors []selector `json:"clusterRoleSelectors" yaml:"clusterRoleSelectors"`
	} `json:"aggregationRule" yaml:"aggregationRule"`
	Subjects []subject `json:"subjects" yaml:"subjects"`
	RoleRef  struct {
		Kind string `json:"kind" yaml:"kind"`
		Name string `json:"name" yaml:"name"`
	} `json:"roleRef" yaml:"roleRef"`
}

type policyRule struct {
	Verbs           []string `json:"verbs" yaml:"verbs"`
	APIGroups       []string `json:"apiGroups" yaml:"apiGroups"`
	Resources       []string `json:"resources" yaml:"resources"`
	ResourceNames   []string `json:"resourceNames" yaml:"resourceNames"`
	NonResourceURLs []string `json:"nonResourceURLs" yaml:"nonResourceURLs"`
}

type subject struct {
	Kind      string `json:"kind" yaml:"kind"`
	Name      string `json:"name" yaml:"name"`
	Namespace string `json:"namespace" yaml:"namespace"`
}

type selector struct {
	MatchLabels      map[string]string `json:"matchLabels" yaml:"matchLabels"`
	MatchExpressions []struct {
		Key      string   `json:"key" yaml:"key"`
		Operator string   `json:"operator" yaml:"operator"`
		Values   []string `json:"values" yaml:"values"`
	} `json:"matchExpressions" yaml:"matchExpressions"`
}

// matches tells whether an object's labels fit. An operator that is not known
// fits nothing.
func (s *selector) matches(labels map[string]string) bool {
	for k, v := range s.MatchLabels {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		got, ok := labels[e.Key]
		fits := false
		switch e.Operator {
		case "In":
			fits = ok && slices.Contains(e.Values, got)
		case "NotIn":
			fits = !ok || !slices.Contains(e.Values, got)
		case "Exists":
			fits = ok
		case "DoesNotExist":
			fits = !ok
		}
		if !fits {
			return false
		}
	}
	return true
}

var (
	errInputSize  = errors.New("the document is larger than 64 MiB; split it")
	errInputText  = errors.New("the document is no UTF-8 text; is this the right file?")
	errInputAlias = errors.New("the document uses YAML aliases, which are not read here; write it out (kubectl get -o yaml does)")
	errInputDepth = errors.New("the document is nested too deep; is this the right file?")
)

// manifests reads all objects of a YAML or JSON document, lists spread out.
func manifests(data []byte) ([]manifest, error) {
	switch {
	case len(data) > maxInput:
		return nil, errInputSize
	case !utf8.Valid(data):
		return nil, errInputText
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var read []manifest
	var err error
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		read, err = decodeJSON(trimmed)
	} else {
		read, err = decodeYAML(data)
	}
	if err != nil {
		return nil, err
	}
	return spread(nil, read, ""), nil
}

func decodeJSON(data []byte) (read []manifest, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	for {
		var m manifest
		switch err := d.Decode(&m); {
		case err == io.EOF:
			return read, nil
		case err != nil:
			return nil, fmt.Errorf("read JSON: %w", err)
		}
		read = append(read, m)
	}
}

func decodeYAML(data []byte) (read []manifest, err error) {
	if err := checkTokens(lexer.Tokenize(string(data))); err != nil {
		return nil, err
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var m manifest
		switch err := d.Decode(&m); {
		case err == io.EOF:
			return read, nil
		case err != nil:
			return nil, fmt.Errorf("read YAML: %s", firstLine(yaml.FormatError(err, false, false)))
		}
		read = append(read, m)
	}
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}

// checkTokens refuses what would make the parser need memory or stack out of
// proportion to its input.
func checkTokens(tokens token.Tokens) error {
	const maxDepth = 200
	flow, openers, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, openers = t.Position.Line, 0
		}
		switch t.Type {
		case token.AliasType, token.MergeKeyType:
			return errInputAlias
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.CollectEntryType:
			openers = 0
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType:
			openers++
		}
		if flow > maxDepth || openers > maxDepth || t.Position.IndentNum > 4*maxDepth {
			return errInputDepth
		}
	}
	return nil
}

// spread takes objects out of their lists. An item that names no kind, as in
// the API's own lists, has its list's.
func spread(out, in []manifest, kind string) []manifest {
	for _, m := range in {
		if m.Kind == "" {
			m.Kind = kind
		}
		if of, ok := strings.CutSuffix(m.Kind, "List"); ok || m.Kind == "" && m.Items != nil {
			out = spread(out, m.Items, of)
			continue
		}
		if m.Kind != "" || m.Metadata.Name != "" {
			out = append(out, m)
		}
	}
	return out
}
