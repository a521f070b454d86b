package catalog

import "errors"

// Load reads the catalogue at path: a file, or a directory of *.yaml and *.yml.
func Load(path string) (*Catalog, error) { return nil, errors.New("catalogue loading is being written") }
func digest(files []string) string { return "" }
