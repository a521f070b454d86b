package memory

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// accepted reports whether the call's credential surely was.
func (c *call) accepted() bool {
	return c.Decision.Accepted() && c.Quality.Certain()
}

// Exposures lists which parameters stood in the addresses called.
func (f *Facts) Exposures(_ context.Context, w schema.Window, hashes []schema.PrincipalHash, parameters []string, each func(*rule.Exposure) error) error {
	type key struct {
		hash          schema.PrincipalHash
		service, name string
	}
	found := map[key]*rule.Exposure{}
	for i := range f.calls { // in order of time
		c := &f.calls[i]
		if !w.Contains(c.Time) || !slices.Contains(hashes, c.hash) || !c.accepted() {
			continue
		}
		for _, name := range c.QueryKeys {
			k := key{c.hash, c.Service, strings.ToLower(name)}
			if !slices.Contains(parameters, k.name) {
				continue
			}
			if found[k] == nil {
				found[k] = &rule.Exposure{Hash: k.hash, Service: k.service, Parameter: k.name, First: c.Time}
			}
			found[k].Last = c.Time
		}
	}
	list := make([]*rule.Exposure, 0, len(found))
	for _, e := range found {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *rule.Exposure) int {
		return cmp.Or(slices.Compare(a.Hash[:], b.Hash[:]), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Parameter, b.Parameter))
	})
	return eachOf(list, each)
}

// Lasting lists the instances that were used for longer than a time.
func (f *Facts) Lasting(_ context.Context, w schema.Window, hashes []schema.PrincipalHash, over time.Duration, each func(*rule.Lasting) error) error {
	type key struct {
		hash     schema.PrincipalHash
		instance string
	}
	found := map[key]*rule.Lasting{}
	for i := range f.calls { // in order of time
		c := &f.calls[i]
		k := key{c.hash, c.Credential.Instance}
		if !w.Contains(c.Time) || k.instance == "" || !slices.Contains(hashes, c.hash) || !c.accepted() {
			continue
		}
		if found[k] == nil {
			found[k] = &rule.Lasting{Hash: k.hash, Instance: k.instance, First: c.Time}
		}
		found[k].Last = c.Time
	}
	var list []*rule.Lasting
	for _, l := range found {
		if l.Last.Sub(l.First) > over {
			list = append(list, l)
		}
	}
	slices.SortFunc(list, func(a, b *rule.Lasting) int {
		return cmp.Or(slices.Compare(a.Hash[:], b.Hash[:]), cmp.Compare(a.Instance, b.Instance))
	})
	return eachOf(list, each)
}

func eachOf[T any](list []*T, each func(*T) error) error {
	for _, one := range list {
		if err := each(one); err != nil {
			return err
		}
	}
	return nil
}
