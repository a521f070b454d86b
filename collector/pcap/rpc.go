package pcap

import (
	"github.com/scopedrift/scopedrift/schema"
)

// graphqlCodes are the error codes (extensions.code) by which the usual GraphQL
// servers say what became of an operation.
var graphqlCodes = map[string]schema.Decision{
	"FORBIDDEN": schema.DecisionDenied, "ACCESS_DENIED": schema.DecisionDenied, "UNAUTHORIZED": schema.DecisionDenied,
	"AUTH_NOT_AUTHORIZED": schema.DecisionDenied, "access-denied": schema.DecisionDenied, "validation-failed": schema.DecisionUnknown,
	"UNAUTHENTICATED": schema.DecisionUnauthenticated, "AUTH_NOT_AUTHENTICATED": schema.DecisionUnauthenticated, "invalid-jwt": schema.DecisionUnauthenticated,
	"NOT_FOUND": schema.DecisionNoEffect, "CONFLICT": schema.DecisionNoEffect,
	"INTERNAL_SERVER_ERROR": schema.DecisionError, "RATE_LIMITED": schema.DecisionError, "THROTTLED": schema.DecisionError, "TIMEOUT": schema.DecisionError,
}

// graphqlDecision maps a whole answer of GraphQL: without errors the operation
// was honoured, with an error alone its code says what it was. Data beside
// errors, or errors that disagree, say two things: unknown.
func graphqlDecision(text []byte) schema.Decision {
	if several(text) {
		return unanimous(text, graphqlDecision)
	}
	var data, errs []byte
	twice := 0
	if !jsonMembers(text, func(key, value []byte) {
		switch string(key) {
		case "data":
			data = value
			twice += 1
		case "errors":
			errs = value
			twice += 16
		}
	}) || twice&15 > 1 || twice>>4 > 1 {
		return schema.DecisionUnknown
	}
	none := len(data) == 0 || string(data) == "null"
	if len(errs) == 0 || string(errs) == "null" || len(jsonSpace(errs[1:])) == 1 {
		if none {
			return schema.DecisionUnknown
		}
		return schema.DecisionAllowed
	}
	if !none || errs[0] != '[' {
		return schema.DecisionUnknown
	}
	decision, first := schema.DecisionUnknown, true
	for rest := jsonSpace(errs[1:]); len(rest) > 0 && rest[0] == '{'; {
		n := jsonValue(rest)
		if n == 0 {
			return schema.DecisionUnknown
		}
		one := graphqlError(rest[:n])
		if !first && one != decision {
			return schema.DecisionUnknown
		}
		decision, first = one, false
		if rest = jsonSpace(rest[n:]); len(rest) > 0 && rest[0] == ',' {
			rest = jsonSpace(rest[1:])
		}
	}
	return decision
}

// several reports whether a body holds more than one answer.
func several(text []byte) bool {
	text = jsonSpace(text)
	return len(text) > 0 && text[0] == '['
}

// unanimous returns the decision that all answers in an array agree on. Those of a
// call that has several in it are none.
func unanimous(text []byte, of func([]byte) schema.Decision) schema.Decision {
	decision, first := schema.DecisionUnknown, true
	if !jsonElements(text, func(value []byte) {
		one := schema.DecisionUnknown
		if !several(value) {
			one = of(value)
		}
		if first {
			decision, first = one, false
		} else if one != decision {
			decision = schema.DecisionUnknown
		}
	}) {
		return schema.DecisionUnknown
	}
	return decision
}

// graphqlError maps one error.
func graphqlError(text []byte) schema.Decision {
	code := ""
	jsonMembers(text, func(key, value []byte) {
		if string(key) == "extensions" {
			jsonMembers(value, func(key, value []byte) {
				if string(key) == "code" {
					code, _ = jsonText(value)
				}
			})
		}
	})
	return graphqlCodes[code]
}

// rpcDecision maps a whole answer of JSON-RPC 2.0, MCP included. A result means
// that the method was carried out, unless MCP marks it as an error. Error codes
// tell nothing about authorisation, except that an internal error is one.
func rpcDecision(text []byte) schema.Decision {
	if several(text) {
		return unanimous(text, rpcDecision)
	}
	var result, failure []byte
	if !jsonMembers(text, func(key, value []byte) {
		switch string(key) {
		case "result":
			result = value
		case "error":
			failure = value
		}
	}) {
		return schema.DecisionUnknown
	}
	switch {
	case len(failure) > 0 && string(failure) != "null":
		code := ""
		jsonMembers(failure, func(key, value []byte) {
			if string(key) == "code" {
				code = string(value)
			}
		})
		if code == "-32603" {
			return schema.DecisionError
		}
		return schema.DecisionUnknown
	case len(result) == 0:
		return schema.DecisionUnknown
	}
	failed := false
	jsonMembers(result, func(key, value []byte) {
		failed = failed || string(key) == "isError" && string(value) == "true"
	})
	if failed {
		return schema.DecisionUnknown
	}
	return schema.DecisionAllowed
}
