package block

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"unsafe"

	"github.com/scopedrift/scopedrift/schema"
)

// Keys computes the two hashes that use is folded by. Most calls repeat
// their predecessors' credential, so each distinct one is hashed once; recent
// ones are recognised by where their texts lie in memory, since collectors make
// one string of a text that occurs again and again.
type Keys struct {
	recentPrincipals [recentKeys]recentPrincipal
	recentPresented  [recentKeys]recentPresented
	byPrincipal      map[schema.Principal]schema.PrincipalHash
	byPresented      map[string]schema.PresentedHash
	buf              []byte
}

const recentKeys = 256

type recentPrincipal struct {
	schema.Principal
	hash schema.PrincipalHash
}

type recentPresented struct {
	scopes, groups []string
	hash           schema.PresentedHash
	set            bool
}

// maxKeys bounds the maps of both; at the bound they start anew.
const maxKeys = 1 << 16

// same reports whether two texts are one in memory; false says nothing.
func same(a, b string) bool {
	return len(a) == len(b) && (len(a) == 0 || unsafe.StringData(a) == unsafe.StringData(b))
}

// sameList is same for lists; nil is not empty.
func sameList(a, b []string) bool {
	return len(a) == len(b) && (a == nil) == (b == nil) && (len(a) == 0 || unsafe.SliceData(a) == unsafe.SliceData(b))
}

// Principal returns the hash of a call's principal.
func (k *Keys) Principal(c *schema.Credential) schema.PrincipalHash {
	address := uintptr(unsafe.Pointer(unsafe.StringData(c.ID))) ^ uintptr(unsafe.Pointer(unsafe.StringData(c.Subject)))<<1
	r := &k.recentPrincipals[slot(address, recentKeys)]
	// The zero entry is of a kind that has no id.
	if r.Kind == c.Kind && c.ID != "" && same(r.ID, c.ID) && same(r.Subject, c.Subject) && same(r.Client, c.Client) && same(r.Issuer, c.Issuer) {
		return r.hash
	}
	p := c.Principal()
	hash, ok := k.byPrincipal[p]
	if !ok {
		if k.byPrincipal == nil || len(k.byPrincipal) >= maxKeys {
			k.byPrincipal = map[schema.Principal]schema.PrincipalHash{}
		}
		hash = p.Hash()
		k.byPrincipal[p] = hash
	}
	*r = recentPrincipal{p, hash}
	return hash
}

// presented returns the hash of what a call presented.
func (k *Keys) presented(c *schema.Call) schema.PresentedHash {
	scopes, groups := c.Scopes, c.Credential.Groups
	address := uintptr(unsafe.Pointer(unsafe.SliceData(scopes))) ^ uintptr(unsafe.Pointer(unsafe.SliceData(groups)))<<1
	r := &k.recentPresented[slot(address, recentKeys)]
	if r.set && sameList(r.scopes, scopes) && sameList(r.groups, groups) {
		return r.hash
	}
	// Tokens come and go, and mostly present what others did before.
	k.buf = k.buf[:0]
	for _, list := range [...][]string{scopes, groups} {
		k.buf = binary.AppendUvarint(append(k.buf, Bit(list != nil)), uint64(len(list)))
		for _, name := range list {
			k.buf = append(binary.AppendUvarint(k.buf, uint64(len(name))), name...)
		}
	}
	hash, ok := k.byPresented[string(k.buf)]
	if !ok {
		if k.byPresented == nil || len(k.byPresented) >= maxKeys {
			k.byPresented = map[string]schema.PresentedHash{}
		}
		hash = presentedHash(scopes, groups)
		k.byPresented[string(k.buf)] = hash
	}
	*r = recentPresented{scopes, groups, hash, true}
	return hash
}

// presentedHash identifies presented scopes and groups, whatever their order.
func presentedHash(scopes, groups []string) (hash schema.PresentedHash) {
	h := fnv.New128a()
	write := func(kind byte, names []string) {
		names = slices.Clone(names)
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			h.Write([]byte{kind})
			h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(name))))
			h.Write([]byte(name))
		}
	}
	if scopes != nil {
		h.Write([]byte{'p'})
	}
	write('s', scopes)
	write('g', groups)
	copy(hash[:], h.Sum(nil))
	return hash
}
