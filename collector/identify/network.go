package identify

import (
	"bytes"

	"github.com/scopedrift/scopedrift/schema"
)

// xfcc reads the x-forwarded-client-cert header and returns the nearest hop's
// element, nil where there is none.
func (r *rules) xfcc() *XFCCElement {
	if len(r.ev.XFCC) == 0 {
		return nil
	}
	elements, err := ParseXFCC(r.ev.XFCC)
	if err != nil {
		r.known.flaw = flawXFCC
		return nil
	}
	last := len(elements) - 1
	r.behind = elements[:last]
	return &elements[last]
}

// workload fills in who the network says is calling.
func (r *rules) workload() {
	k := &r.ev.Kubernetes
	switch uri := pickURI(r.ev.PeerURISAN); {
	case uri != nil:
		r.out.Workload = r.str(uri)
	case r.hop != nil && len(r.hop.URI) > 0:
		r.out.Workload = r.str(bestURI(r.hop.URI))
	case len(k.Pod) > 0:
		// A service account's pod lives in its namespace.
		if namespace := accountNamespace(k.User); namespace != nil {
			r.out.Workload = r.str(bytes.Join([][]byte{namespace, k.Pod}, []byte("/")))
		} else {
			r.out.Workload = r.str(k.Pod)
		}
	case len(k.Node) > 0:
		r.out.Workload = r.str(append([]byte("node/"), k.Node...))
	case len(r.ev.Cloud.InvokedBy) > 0:
		r.out.Workload = r.str(r.ev.Cloud.InvokedBy)
	}
}

// pickURI chooses one of several URIs apart by commas: a SPIFFE id, else the
// first.
func pickURI(list []byte) []byte {
	if len(list) == 0 {
		return nil
	}
	return bestURI(bytes.Split(list, []byte(",")))
}

func bestURI(list [][]byte) []byte {
	for _, uri := range list {
		if uri = bytes.TrimSpace(uri); bytes.HasPrefix(uri, []byte("spiffe://")) {
			return uri
		}
	}
	return bytes.TrimSpace(list[0])
}

// certificate: the URI SAN of the client certificate, else its SHA-256, else
// its subject. What the gateway's own connection shows is verified; what a
// header says is read.
func (r *rules) certificate() bool {
	uri, hash, subject, verified := pickURI(r.ev.PeerURISAN), r.ev.PeerFingerprint, r.ev.PeerSubject, true
	if len(uri) == 0 && len(hash) == 0 && len(subject) == 0 {
		if r.hop == nil {
			return false
		}
		verified = false
		hash, subject = r.hop.Hash, r.hop.Subject
		if len(r.hop.URI) > 0 {
			uri = bestURI(r.hop.URI)
		}
		if len(uri) == 0 && len(hash) == 0 && len(subject) == 0 {
			if len(r.hop.DNS) == 0 {
				return false
			}
			uri = r.hop.DNS[0]
		}
	}
	c := &r.out.Credential
	*c = schema.Credential{Kind: schema.KindMTLS, Instance: r.str(certificateHash(hash)), Verified: verified}
	switch {
	case len(uri) > 0:
		c.ID = r.str(uri)
	case len(hash) > 0:
		c.ID, c.Subject = c.Instance, r.str(subject)
	default:
		c.ID, c.Subject = r.str(subject), r.str(subject)
	}
	// Hops further away act through the nearest one.
	for i := len(r.behind) - 1; i >= 0; i-- {
		e := &r.behind[i]
		switch {
		case len(e.URI) > 0:
			r.actor(bestURI(e.URI))
		case len(e.Hash) > 0:
			r.actor(certificateHash(e.Hash))
		default:
			r.actor(e.Subject)
		}
	}
	return true
}

// certificateHash writes a fingerprint in one way: lower case, no colons.
func certificateHash(hash []byte) []byte {
	out := make([]byte, 0, len(hash))
	for _, c := range bytes.TrimPrefix(bytes.ToLower(hash), []byte("sha256:")) {
		if c != ':' && c != ' ' {
			out = append(out, c)
		}
	}
	return out
}

// accountNamespace returns the namespace of a service account's user name.
func accountNamespace(user []byte) []byte {
	rest, ok := bytes.CutPrefix(user, []byte("system:serviceaccount:"))
	if !ok {
		return nil
	}
	namespace, _, found := bytes.Cut(rest, []byte(":"))
	if !found || len(namespace) == 0 {
		return nil
	}
	return namespace
}

// kubernetes: the user name of an audit record. An impersonated user acts, and
// whose credential it really was stands behind.
func (r *rules) kubernetes() bool {
	k := &r.ev.Kubernetes
	if len(k.User) == 0 && len(k.Impersonated) == 0 {
		return false
	}
	c := &r.out.Credential
	if len(k.Impersonated) > 0 {
		*c = schema.Credential{Kind: kubernetesKind(k.Impersonated, nil), ID: r.str(k.Impersonated), Verified: true}
		c.Groups = r.list(k.ImpersonatedGroups)
		r.actor(k.User)
		return true
	}
	*c = schema.Credential{Kind: kubernetesKind(k.User, k.CredentialID), ID: r.str(k.User), Groups: r.list(k.Groups), Verified: true}
	if c.Kind == schema.KindAnonymous {
		c.Verified = false
	}
	instance := k.CredentialID
	for _, prefix := range [...]string{"JTI=", "X509SHA256="} {
		if rest, ok := bytes.CutPrefix(instance, []byte(prefix)); ok {
			instance = rest
			break
		}
	}
	c.Instance = r.str(instance)
	return true
}

// kubernetesKind tells the kind of a user. The prefix system: is reserved for
// the cluster's own: service accounts, nodes (which have certificates), and
// components, whose proof the log does not tell; they are machines, and count
// as service accounts. Anybody else is a user, unless the log says that the
// proof was a certificate.
func kubernetesKind(user, credentialID []byte) schema.CredentialKind {
	switch {
	case string(user) == "system:anonymous":
		return schema.KindAnonymous
	case bytes.HasPrefix(user, []byte("system:serviceaccount:")):
		return schema.KindServiceAccount
	case bytes.HasPrefix(credentialID, []byte("X509SHA256=")), bytes.HasPrefix(user, []byte("system:node:")):
		return schema.KindMTLS
	case bytes.HasPrefix(user, []byte("system:")):
		return schema.KindServiceAccount
	}
	return schema.KindUserToken
}
