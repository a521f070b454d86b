package identify

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
)

// maxClientCert bounds a header with a certificate that is read.
const maxClientCert = 64 << 10

var errClientCert = errors.New("the header with the client's certificate holds none that can be read: check what writes it")

// ParseClientCert reads a client certificate from a header, as those proxies write it
// that do not write x-forwarded-client-cert: Client-Cert (RFC 9440, Base64 in colons),
// PEM with escapes (NGINX, AWS load balancers), PEM with blanks for its line ends
// (Apache), PEM without its frame (Traefik), Base64 alone (Azure). Of several the first
// is the client's own.
func ParseClientCert(header []byte) (XFCCElement, error) {
	if len(header) > maxClientCert {
		return XFCCElement{}, errClientCert
	}
	text := unescapeQuery(header)
	if _, rest, found := bytes.Cut(text, []byte("-----BEGIN CERTIFICATE-----")); found {
		text, _, _ = bytes.Cut(rest, []byte("-----END"))
	} else {
		text, _, _ = bytes.Cut(bytes.Trim(text, " :\""), []byte{','})
	}
	plain := make([]byte, 0, len(text))
	for _, c := range text {
		switch c {
		case ' ', '\t', '\r', '\n', ':', '=', '"':
		default:
			plain = append(plain, c)
		}
	}
	der := make([]byte, base64.RawStdEncoding.DecodedLen(len(plain)))
	n, err := base64.RawStdEncoding.Decode(der, plain)
	if err != nil {
		return XFCCElement{}, errClientCert
	}
	certificate, err := x509.ParseCertificate(der[:n])
	if err != nil {
		return XFCCElement{}, errClientCert
	}
	sum := sha256.Sum256(certificate.Raw)
	e := XFCCElement{Hash: []byte(hex.EncodeToString(sum[:])), Subject: []byte(certificate.Subject.String())}
	for _, uri := range certificate.URIs {
		add(&e.URI, []byte(uri.String()))
	}
	for _, name := range certificate.DNSNames {
		add(&e.DNS, []byte(name))
	}
	return e, nil
}

// clientCert: what other headers than x-forwarded-client-cert say of the client's
// certificate. Where no proxy writes such a header none removes it either, and anybody
// may send one: so it counts only where nothing else proves who calls.
func (r *rules) clientCert() bool {
	if !absent(r.ev.ClientCert) {
		e, err := ParseClientCert(r.ev.ClientCert)
		if err == nil {
			r.hop = &e
			r.workload()
			return r.certificate()
		}
		r.known.flaw = flawClientCert
	}
	if !absent(r.ev.ClientSubject) {
		r.hop = &XFCCElement{Subject: r.ev.ClientSubject}
		return r.certificate()
	}
	return false
}

// absent reports whether a header is what proxies write of a client without a
// certificate: Apache "(null)", others a dash.
func absent(value []byte) bool {
	switch string(bytes.TrimSpace(value)) {
	case "", "-", "(null)":
		return true
	}
	return false
}
