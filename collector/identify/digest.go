package identify

import (
	"encoding/binary"
	"hash/maphash"
)

// Two seeds give 128 bits, of this process only: no digest leaves it, and a
// sender cannot aim at a collision.
var seedA, seedB = maphash.MakeSeed(), maphash.MakeSeed()

// digest returns a digest of all evidence. It names the fields that are there
// by their number, so that equal bytes in other fields give another digest.
func (i *Identifier) digest(ev *Evidence) [2]uint64 {
	d := digester{buf: i.scratch[:0]}
	d.one(ev.KeyID)
	d.one(ev.APIClient)
	d.claims(&ev.JWT)
	d.one(ev.Authorization.Reveal())
	d.one(ev.APIKey.Reveal())
	d.one(ev.SessionCookie.Reveal())
	d.one(ev.QueryName)
	d.one(ev.Query.Reveal())
	d.one(ev.BasicUser)
	d.one(ev.XFCC)
	d.one(ev.ClientCert)
	d.one(ev.ClientSubject)
	d.one(ev.PeerURISAN)
	d.one(ev.PeerSubject)
	d.one(ev.PeerFingerprint)

	k := &ev.Kubernetes
	d.one(k.User)
	d.many(k.Groups)
	d.one(k.CredentialID)
	d.one(k.Impersonated)
	d.many(k.ImpersonatedGroups)
	d.one(k.Pod)
	d.one(k.Node)

	c := &ev.Cloud
	d.one(c.Type)
	d.one(c.ARN)
	d.one(c.AccountID)
	d.one(c.PrincipalID)
	d.one(c.UserName)
	d.one(c.AccessKey)
	d.one(c.InvokedBy)
	d.one(c.IssuerARN)
	d.one(c.IssuerType)
	d.one(c.Provider)
	d.one(c.SourceIdentity)
	d.flag(ev.Complete)

	sum := [2]uint64{maphash.Bytes(seedA, d.buf), maphash.Bytes(seedB, d.buf)}
	clear(d.buf) // it may hold secrets
	i.scratch = d.buf[:0]
	return sum
}

type digester struct {
	buf   []byte
	field byte
}

func (d *digester) one(b []byte) {
	d.field++
	if len(b) > 0 {
		d.buf = append(d.buf, d.field)
		d.buf = binary.AppendUvarint(d.buf, uint64(len(b)))
		d.buf = append(d.buf, b...)
	}
}

func (d *digester) many(list [][]byte) {
	d.field++
	for _, b := range list {
		d.buf = append(d.buf, d.field)
		d.buf = binary.AppendUvarint(d.buf, uint64(len(b)))
		d.buf = append(d.buf, b...)
	}
}

func (d *digester) flag(set bool) {
	d.field++
	if set {
		d.buf = append(d.buf, d.field)
	}
}

// claims leaves out times, which say nothing about who is calling, and the
// token's id, which Identify takes from the evidence.
func (d *digester) claims(c *Claims) {
	d.one(c.Issuer)
	d.one(c.AuthorizedParty)
	d.one(c.ClientID)
	d.one(c.Subject)
	d.many(c.Scopes)
	d.flag(c.ScopesPresent)
	d.many(c.Actors)
	d.one(c.GrantType)
	d.one(c.IDType)
	d.one(c.Username)
}
