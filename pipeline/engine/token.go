package engine

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ClickHouse writes the token of a part into the table's log of tokens, and then
// gives the part its name (MergeTreeSink, seen with strace in 26.7). An engine that
// is killed in between leaves a token whose rows are nowhere: whoever inserts them
// again is told that they are there, and they are lost. A table's log and names
// change under one lock, so that it can be the last token of each table only.

// MendTokens takes back the tokens of parts that a kill left without a name, and
// returns how many: what belongs to them is stored when it is inserted again. It has
// to be called before the engine opens the directory.
func (c *Claim) MendTokens() (mended int, err error) {
	logs, err := filepath.Glob(filepath.Join(c.DataPath(), "store", "*", "*", "deduplication_logs"))
	if err != nil {
		return 0, err
	}
	for _, dir := range logs {
		taken, err := mendTokens(dir)
		if err != nil {
			return mended, fileError("mend the tokens of inserts in", dir, err)
		}
		if taken {
			mended++
		}
	}
	return mended, nil
}

// mendTokens cuts the last line off a table's log of tokens if it is not whole, or
// adds a part that is not there.
func mendTokens(dir string) (taken bool, err error) {
	path, text, err := lastTokens(dir)
	if err != nil || path == "" {
		return false, err
	}
	whole := bytes.LastIndexByte(text, '\n') + 1
	cut := whole
	if whole > 0 {
		start := bytes.LastIndexByte(text[:whole-1], '\n') + 1
		action, rest, _ := strings.Cut(string(text[start:whole-1]), "\t")
		name, _, _ := strings.Cut(rest, "\t")
		if action == addToken {
			there, err := hasPart(filepath.Dir(dir), name)
			if err != nil {
				return false, err
			}
			if !there {
				cut = start
			}
		}
	}
	if cut == len(text) {
		return false, nil
	}
	return cut < whole, os.Truncate(path, int64(cut))
}

// addToken begins the line of a token that was given to a part.
const addToken = "1"

// lastTokens reads the newest log of tokens that holds something; there are few, and
// each has at most twice as many lines as the table has tokens.
func lastTokens(dir string) (path string, text []byte, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", nil, err
	}
	numbers := map[int]string{}
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), "deduplication_log_")
		if n, err := strconv.Atoi(strings.TrimSuffix(text, ".txt")); ok && err == nil {
			numbers[n] = e.Name()
		}
	}
	var order []int
	for n := range numbers {
		order = append(order, n)
	}
	slices.Sort(order)
	for _, n := range slices.Backward(order) {
		path = filepath.Join(dir, numbers[n])
		if text, err = os.ReadFile(path); err != nil || len(text) > 0 {
			return path, text, err
		}
	}
	return "", nil, nil
}

// part is the name of a part of a table: blocks first to last of a partition.
type part struct {
	partition   string
	first, last int64
}

// parsePart reads PARTITION_FIRST_LAST_LEVEL, with _MUTATION behind it or not.
func parsePart(name string) (p part, err error) {
	fields := strings.Split(name, "_")
	if len(fields) != 4 && len(fields) != 5 {
		return part{}, fmt.Errorf("%q names no part", name)
	}
	p.partition = fields[0]
	if p.first, err = strconv.ParseInt(fields[1], 10, 64); err == nil {
		p.last, err = strconv.ParseInt(fields[2], 10, 64)
	}
	return p, err
}

// hasPart reports whether a table holds a part, or one that it was merged into.
func hasPart(table, name string) (bool, error) {
	want, err := parsePart(name)
	if err != nil {
		return true, nil // nothing that this knows: it stays
	}
	entries, err := os.ReadDir(table)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		p, err := parsePart(e.Name())
		return err == nil && p.partition == want.partition && p.first <= want.first && p.last >= want.last
	}), nil
}
