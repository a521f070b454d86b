package pcap

import (
	"bytes"
	"slices"
)

// field is a header field that the builder looks at. All others are one: what
// nobody reads needs no name and no value.
type field uint8

const (
	// fieldOther is a field that nobody looks at.
	fieldOther field = iota
	// fieldUnseen is one of HTTP/2 whose name stands in a table slot that was
	// filled where nobody saw it. It may be any.
	fieldUnseen
	// fieldSecretive is one that nobody knows, with the name of a credential.
	fieldSecretive
	// fieldOdd is one of HTTP/2 against the rules, by capitals in its name and the like:
	// a server refuses it, or takes it as meant.
	fieldOdd

	fieldMethod
	fieldScheme
	fieldAuthority
	fieldPath
	fieldProtocol // of CONNECT (RFC 8441)
	fieldStatus

	fieldHost
	fieldAuthorization
	fieldProxyAuthorization
	fieldAPIKey
	fieldCookie
	fieldXFCC
	fieldClientCert
	fieldClientSubject
	fieldOverride
	fieldUserAgent
	fieldRequestID
	fieldCorrelation
	fieldTraceParent
	fieldB3TraceID
	fieldLocation
	fieldContentType
	fieldContentEncoding
	fieldGRPCStatus
	fieldUpgrade
	fieldContentLength
	fieldTransferEncoding

	// fieldTenant is a flag beside the others: the tenant may stand in a field
	// that has a meaning of its own.
	fieldTenant field = 0x80
)

// pseudo reports whether the field is one that HTTP/2 has for the first line.
func (f field) pseudo() bool { f &^= fieldTenant; return f >= fieldMethod && f <= fieldStatus }

// fieldOf returns the field with a name in lower case. tenant is the name of
// the one that holds the tenant.
func fieldOf(name []byte, tenant string) field {
	f := fieldNamed(name)
	if tenant != "" && string(name) == tenant {
		f |= fieldTenant
	}
	return f
}

func fieldNamed(name []byte) field {
	switch string(name) {
	case ":method":
		return fieldMethod
	case ":scheme":
		return fieldScheme
	case ":authority":
		return fieldAuthority
	case ":path":
		return fieldPath
	case ":status":
		return fieldStatus
	case ":protocol":
		return fieldProtocol
	case "host":
		return fieldHost
	case "authorization":
		return fieldAuthorization
	case "proxy-authorization":
		return fieldProxyAuthorization
	case "cookie":
		return fieldCookie
	case "user-agent":
		return fieldUserAgent
	case "x-forwarded-client-cert":
		return fieldXFCC
	case "client-cert", "x-client-cert", "x-ssl-client-cert", "x-ssl-cert", "ssl-client-cert", "ssl-client-certificate", "x-arr-clientcert",
		"x-amzn-mtls-clientcert", "x-amzn-mtls-clientcert-leaf", "x-forwarded-tls-client-cert":
		return fieldClientCert
	case "ssl-client-subject-dn", "ssl-client-s-dn", "x-ssl-client-s-dn", "x-ssl-client-dn", "x-ssl-client-subject-dn", "x-client-dn", "x-amzn-mtls-clientcert-subject":
		return fieldClientSubject
	case "x-http-method-override", "x-method-override", "x-http-method":
		return fieldOverride
	case "x-request-id":
		return fieldRequestID
	case "x-correlation-id":
		return fieldCorrelation
	case "traceparent":
		return fieldTraceParent
	case "x-b3-traceid":
		return fieldB3TraceID
	case "location":
		return fieldLocation
	case "content-type":
		return fieldContentType
	case "content-encoding":
		return fieldContentEncoding
	case "content-length":
		return fieldContentLength
	case "transfer-encoding":
		return fieldTransferEncoding
	case "grpc-status":
		return fieldGRPCStatus
	case "upgrade":
		return fieldUpgrade
	case "x-api-key", "api-key", "apikey", "x-apikey", "x-auth-token", "x-access-token", "x-goog-api-key",
		"ocp-apim-subscription-key", "private-token", "job-token", "x-vault-token", "x-consul-token",
		"x-shopify-access-token", "dd-api-key", "x-honeycomb-team", "x-rapidapi-key", "circle-token",
		"x-figma-token", "x-algolia-api-key", "x-api-token", "x-token", "x-nomad-token",
		"x-functions-key", "x-app-token", "x-client-secret",
		"x-redmine-api-key", "x-mbx-apikey", "x-cg-pro-api-key", "x-postmark-server-token", "xi-api-key":
		return fieldAPIKey
	}
	if secretive(name) {
		return fieldSecretive
	}
	return fieldOther
}

// secretive reports whether a header that is not known has the name of a credential, by
// the word at its end. Whoever sends it may not be called anonymous.
func secretive(name []byte) bool {
	at := len(name)
	for at > 0 && name[at-1] != '-' && name[at-1] != '_' {
		at--
	}
	switch string(name[at:]) {
	case "token", "key", "apikey", "secret", "auth", "authorization", "jwt", "credential", "credentials", "signature", "session", "password", "assertion":
	default:
		return false
	}
	// Proofs against forged requests prove nothing about the caller, the key of an
	// idempotent request and of a handshake name things.
	for _, harmless := range [...]string{"csrf", "xsrf", "idempotency", "websocket", "surrogate", "cache", "partition", "page", "continuation", "encryption"} {
		if bytes.Contains(name, []byte(harmless)) {
			return false
		}
	}
	return true
}

// place returns where a head keeps a field, nil for those that are worked on
// as they come.
func (h *head) place(f field) *[]byte {
	switch f {
	case fieldHost:
		return &h.host
	case fieldAuthorization:
		return &h.authorization
	case fieldProxyAuthorization:
		return &h.proxyAuthorization
	case fieldAPIKey:
		return &h.apiKey
	case fieldCookie:
		return &h.cookie
	case fieldOverride:
		return &h.override
	case fieldClientSubject:
		return &h.clientSubject
	case fieldUserAgent:
		return &h.userAgent
	case fieldRequestID:
		return &h.requestID
	case fieldCorrelation:
		return &h.correlation
	case fieldTraceParent:
		return &h.traceParent
	case fieldB3TraceID:
		return &h.b3TraceID
	case fieldLocation:
		return &h.location
	case fieldContentType:
		return &h.contentType
	case fieldContentEncoding:
		return &h.contentEncoding
	case fieldGRPCStatus:
		return &h.grpcStatus
	case fieldUpgrade:
		return &h.upgrade
	}
	return nil
}

// keep takes a field of either version of HTTP: the first value of a field that
// should occur once. Of those that say who calls whom, a second one that says
// otherwise makes the call doubtful.
func (h *head) keep(f field, value []byte) {
	if f&fieldTenant != 0 {
		h.once(&h.tenant, value)
		f &^= fieldTenant
	}
	switch f {
	case fieldHost:
		h.once(&h.host, value)
	case fieldAuthorization:
		h.once(&h.authorization, value)
	case fieldProxyAuthorization:
		h.once(&h.proxyAuthorization, value)
	case fieldAPIKey:
		h.once(&h.apiKey, value)
	case fieldXFCC:
		h.once(&h.xfcc, value)
	case fieldClientCert:
		h.certificate(value)
	case fieldSecretive:
		h.secretive = h.secretive || len(value) > 0
	default:
		if at := h.place(f); at != nil {
			set(at, value)
		}
	}
}

func (h *head) once(at *[]byte, value []byte) {
	if *at != nil && !bytes.Equal(*at, value) {
		h.doubtful = true
	}
	switch {
	case len(*at) > 0:
	case len(value) > 0:
		*at = value
	default:
		*at = []byte{} // it was there, and said nothing
	}
}

// certificate keeps a header with the client's certificate. A proxy may write it in
// several forms (the leaf, the chain): the longest tells most.
func (h *head) certificate(value []byte) {
	if len(value) > len(h.clientCert) {
		h.clientCert = value
	}
}

// set keeps the first value of a header that should occur once.
func set(at *[]byte, value []byte) {
	if *at == nil && len(value) > 0 {
		*at = value
	}
}

// moreCookies adds a cookie header: HTTP/1 should have one, servers read all.
func (h *head) moreCookies(value []byte) {
	switch {
	case h.cookie == nil:
		set(&h.cookie, value)
	case h.cookies < maxCookies && len(h.cookie)+len(value) < maxCookieBytes:
		h.cookies++
		h.cookie = append(append(slices.Clip(h.cookie), "; "...), value...)
	default:
		h.doubtful = true // who calls may stand in what is left out
	}
}
