package kafkatest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

// The users of the SASL listener. They may do what [Broker.Allow] says, which is
// nothing at first. None of it is a real password.
const (
	User          = "canary-user"
	Password      = "not-a-real-password"
	PlainUser     = "canary-plain"
	PlainPassword = "not-a-real-password-either"
)

func scramArguments() []string {
	var args []string
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, User, Password))
	}
	return args
}

// Secure holds the files and addresses of the secure listeners.
type Secure struct {
	dir string
	ca  authority
	// CA is the certificate that signed the broker's, OtherCA one that did not.
	CA, OtherCA string
	// Certificate and Key are a client's, of subject CN=client; the expired ones
	// ended an hour ago, the foreign ones are signed by the other authority.
	Certificate, Key               string
	ExpiredCertificate, ExpiredKey string
	ForeignCertificate, ForeignKey string

	server, expired string
}

// SASL is where the broker listens with TLS and SASL.
func (b *Broker) SASL() []string { return []string{b.address("sasl")} }

// MTLS is where the broker listens with TLS and wants a client's certificate.
func (b *Broker) MTLS() []string { return []string{b.address("mtls")} }

// Expired is where the broker listens with a certificate that ended.
func (b *Broker) Expired() []string { return []string{b.address("expired")} }

func (s *Secure) properties() map[string]string {
	const plain = `org.apache.kafka.common.security.plain.PlainLoginModule required user_` + PlainUser + `="` + PlainPassword + `";`
	const scram = `org.apache.kafka.common.security.scram.ScramLoginModule required;`
	return map[string]string{
		"authorizer.class.name":                                       "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":                                                 "User:ANONYMOUS",
		"ssl.keystore.type":                                           "PEM",
		"ssl.keystore.location":                                       s.server,
		"ssl.truststore.type":                                         "PEM",
		"ssl.truststore.location":                                     s.CA,
		"sasl.enabled.mechanisms":                                     "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		"listener.name.sasl.plain.sasl.jaas.config":                   plain,
		"listener.name.sasl.scram-sha-256.sasl.jaas.config":           scram,
		"listener.name.sasl.scram-sha-512.sasl.jaas.config":           scram,
		"listener.name.mtls.ssl.client.auth":                          "required",
		"listener.name.expired.ssl.keystore.location":                 s.expired,
		"listener.name.expired.ssl.keystore.type":                     "PEM",
		"connection.failed.authentication.delay.ms":                   "0",
		"listener.name.mtls.ssl.principal.mapping.rules":              "DEFAULT",
		"listener.name.expired.ssl.endpoint.identification.algorithm": "",
	}
}

// Allow lets a user do operations on topics (and groups, for Read) whose names
// begin with prefix; user is such as "User:canary-user" or "User:CN=client".
func (b *Broker) Allow(t testing.TB, user, prefix string, operations ...kafka.ACLOperationType) {
	t.Helper()
	var acls []kafka.ACLEntry
	for _, operation := range operations {
		kinds := []kafka.ResourceType{kafka.ResourceTypeTopic}
		if operation == kafka.ACLOperationTypeRead {
			kinds = append(kinds, kafka.ResourceTypeGroup)
		}
		for _, kind := range kinds {
			acls = append(acls, kafka.ACLEntry{
				ResourceType: kind, ResourceName: prefix, ResourcePatternType: kafka.PatternTypePrefixed,
				Principal: user, Host: "*", Operation: operation, PermissionType: kafka.ACLPermissionTypeAllow,
			})
		}
	}
	response, err := b.Client(t).CreateACLs(context.Background(), &kafka.CreateACLsRequest{ACLs: acls})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range response.Errors {
		if err != nil {
			t.Fatal(err)
		}
	}
}

type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// newSecure makes two authorities and what they sign, in a directory.
func newSecure(dir string) (*Secure, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &Secure{dir: dir}
	ca, file, err := s.authority("ca")
	if err != nil {
		return nil, err
	}
	s.ca, s.CA = ca, file
	other, file, err := s.authority("other-ca")
	if err != nil {
		return nil, err
	}
	s.OtherCA = file
	now := time.Now()
	for _, leaf := range []struct {
		name, subject     string
		by                authority
		until             time.Time
		certificate, both *string
		key               *string
	}{
		{"server", "localhost", ca, now.Add(24 * time.Hour), nil, &s.server, nil},
		{"expired-server", "localhost", ca, now.Add(-time.Hour), nil, &s.expired, nil},
		{"client", "client", ca, now.Add(24 * time.Hour), &s.Certificate, nil, &s.Key},
		{"expired-client", "client", ca, now.Add(-time.Hour), &s.ExpiredCertificate, nil, &s.ExpiredKey},
		{"foreign-client", "client", other, now.Add(24 * time.Hour), &s.ForeignCertificate, nil, &s.ForeignKey},
	} {
		certificate, key, err := sign(leaf.by, leaf.subject, leaf.until)
		if err != nil {
			return nil, err
		}
		for _, out := range []struct {
			suffix string
			data   []byte
			path   *string
		}{
			{".crt", certificate, leaf.certificate}, {".key", key, leaf.key}, {".pem", append(key, certificate...), leaf.both},
		} {
			if out.path == nil {
				continue
			}
			*out.path = filepath.Join(dir, leaf.name+out.suffix)
			if err := os.WriteFile(*out.path, out.data, 0o600); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

func (s *Secure) authority(name string) (authority, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, "", err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, "", err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, "", err
	}
	file := filepath.Join(s.dir, name+".crt")
	return authority{certificate, key}, file, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}

// sign makes a certificate for localhost and 127.0.0.1, and its key.
func sign(by authority, subject string, until time.Time) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: subject},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: until,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.certificate, private.Public(), by.key)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), nil
}
