package identify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// clientCertificate makes one of a workload, and one without a name of its own.
func clientCertificate(t *testing.T, uri string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "billing", Organization: []string{"Made Up, Inc."}}, NotAfter: time.Unix(2e9, 0)}
	if uri != "" {
		parsed, _ := url.Parse(uri)
		template.URIs = []*url.URL{parsed}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestClientCertificatesInHeaders states that all ways of writing a certificate name the
// same credential.
func TestClientCertificatesInHeaders(t *testing.T) {
	for _, uri := range []string{"spiffe://made-up/billing", ""} {
		der := clientCertificate(t, uri)
		sum := sha256.Sum256(der)
		hash := hex.EncodeToString(sum[:])
		want := uri
		if uri == "" {
			want = hash
		}
		framed := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		bare := base64.StdEncoding.EncodeToString(der)
		for name, header := range map[string]string{
			"RFC 9440":          ":" + bare + ":",
			"escaped":           url.PathEscape(framed),
			"with blanks":       strings.ReplaceAll(framed, "\n", " "),
			"with tabs":         strings.ReplaceAll(framed, "\n", "\n\t"),
			"a chain":           framed + framed[:len(framed)/2],
			"without its frame": url.QueryEscape(bare) + "," + url.QueryEscape(bare[:40]),
			"alone":             bare,
		} {
			ev := Evidence{ClientCert: []byte(header), Complete: true}
			var out Identity
			New(testKey).Identify(&ev, &out)
			c := out.Credential
			if c.Kind != schema.KindMTLS || c.ID != want || c.Instance != hash || c.Verified {
				t.Errorf("%s: %+v, want %s", name, c, want)
			}
			if uri != "" && out.Workload != uri {
				t.Errorf("%s: workload %q", name, out.Workload)
			}
		}
	}
	for name, ev := range map[string]Evidence{
		"half":            {ClientCert: []byte(base64.StdEncoding.EncodeToString(clientCertificate(t, ""))[:100])},
		"too long":        {ClientCert: []byte(strings.Repeat("A", maxClientCert+1))},
		"malformed xfcc":  {XFCC: []byte(`Hash="`)},
		"step of a proof": {Authorization: secret("Negotiate FAKE")},
	} {
		ev.Complete = true
		var out Identity
		New(testKey).Identify(&ev, &out)
		if out.Credential.Kind != schema.KindUnknown || out.Credential.ID != "" {
			t.Errorf("%s: %+v, want an unknown credential", name, out.Credential)
		}
	}
	for _, none := range []string{"(null)", "-", " "} {
		ev := Evidence{ClientCert: []byte(none), ClientSubject: []byte(none), Complete: true}
		var out Identity
		if New(testKey).Identify(&ev, &out); out.Credential.Kind != schema.KindAnonymous || out.Credential.ID != "" {
			t.Errorf("%q, which proxies write where there is no certificate: %+v", none, out.Credential)
		}
	}
	for header, bound := range map[string]bool{"NTLM FAKE": true, "negotiate\tFAKE": true, "NTLM": true, "Bearer FAKE": false} {
		if ConnectionBound(secret(header)) != bound {
			t.Errorf("%q proves a connection: %v, want %v", header, !bound, bound)
		}
	}
	ev := Evidence{ClientSubject: []byte("CN=billing,O=Made Up"), Complete: true}
	var out Identity
	if New(testKey).Identify(&ev, &out); out.Credential.Kind != schema.KindMTLS || out.Credential.ID != "CN=billing,O=Made Up" {
		t.Errorf("by subject: %+v", out.Credential)
	}
}

// FuzzClientCert reads anything as a certificate.
func FuzzClientCert(f *testing.F) {
	f.Add([]byte(":MAo=:"))
	f.Add([]byte("-----BEGIN%20CERTIFICATE-----%0AMAo%3D%0A-----END%20CERTIFICATE-----"))
	f.Fuzz(func(t *testing.T, header []byte) {
		e, err := ParseClientCert(header)
		if err == nil && len(e.Hash) != 64 {
			t.Errorf("a certificate without its hash: %+v", e)
		}
	})
}
