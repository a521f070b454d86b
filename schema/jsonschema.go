package schema

import (
	"embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed *.schema.json
var jsonSchemas embed.FS

// JSONSchemas lists the nouns that have a JSON Schema, sorted.
func JSONSchemas() []string {
	entries, err := jsonSchemas.ReadDir(".")
	if err != nil {
		return nil // an embedded directory is always readable
	}
	var nouns []string
	for _, entry := range entries {
		nouns = append(nouns, strings.TrimSuffix(entry.Name(), ".schema.json"))
	}
	slices.Sort(nouns)
	return nouns
}

// JSONSchema returns the JSON Schema (draft 2020-12) of a noun's written form.
// Its $id is the noun followed by .schema.json, and schemas refer to each other
// by that.
func JSONSchema(noun string) ([]byte, error) {
	data, err := jsonSchemas.ReadFile(noun + ".schema.json")
	if err != nil {
		return nil, fmt.Errorf("no JSON schema of %q; there are %s", noun, strings.Join(JSONSchemas(), ", "))
	}
	return data, nil
}
