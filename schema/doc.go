// Package schema holds the nouns of scopedrift: every word that appears in its
// Go code, its tables, its JSON and on its command line is defined here, once.
//
// The words:
//
//   - a [Call] is one observed API request with its answer, after redaction;
//   - a [Credential] is what the caller proved itself with, known by a stable
//     id that is not secret;
//   - a scope is one named right; a [Grant] gives scopes to a credential (or
//     denies them); a [Demand] is what an operation needs;
//   - a [Use] is calls folded by credential, service, operation and tenant:
//     facts only, no judgement;
//   - a [Verdict] is a use judged against a grant;
//   - [Coverage] is what share of the traffic was seen;
//   - a [Finding] is a detection's result, with the evidence that proves it.
//
// The life of a call, in seven steps:
//
//  1. a source reads it (collector/gateway, collector/pcap);
//  2. collector/identify names the credential, collector/redact removes every
//     secret: from here on no secret exists;
//  3. the collector hands it to a sink (pipeline/direct);
//  4. the pipeline enriches it from the catalogue (schema/catalog);
//  5. it is inserted and confirmed; views fold it into rollups (schema/table);
//  6. the detector compares use with grants and runs the rules;
//  7. findings leave as text, table, JSON, CSV or SARIF.
//
// This package imports the standard library only. It promises that a value
// written as JSON by one release is read by the next.
package schema
