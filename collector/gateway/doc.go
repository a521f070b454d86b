// Package gateway turns log files into calls: one engine, and formats as YAML
// presets.
//
// Most callers want [New] and [Gateway.Run], which reads files, directories and
// standard input, hands batches of calls to a sink and reports what it read. A
// unit (a line, a document, an element of an array of documents) goes through
// framing, unwrapping, one pass over its fields, and the preset that knows its
// format; identity and redaction follow at once, so that no secret leaves this
// package.
//
// The package promises:
//
//   - every unit is accounted for: a call, no call with its reason, or
//     unreadable with its reason; a unit that cannot be read never changes how
//     the next one is read;
//   - what a unit says does not depend on what stands before it; the same log
//     read again, compressed, wrapped or split gives the same calls with the
//     same ids (ordinals of equal lines are exact within the last 786,432 units
//     of an input);
//   - memory does not grow with the input: at most one unit (16 MiB), one batch,
//     and tables of fixed size are held.
//
// It cannot see who called where the gateway does not log it: the report says so,
// and each preset carries the log format that does. It does not verify tokens,
// and knows neither routes nor services: those are the catalogue's.
package gateway
