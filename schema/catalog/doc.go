// Package catalog reads the catalogue, the user's YAML that says which services
// there are, what their operations need, and which credentials hold what; and
// it routes a concrete call to the service and operation it belongs to.
//
// The two functions most callers want are [Load], which reads a file or a
// directory, and [Catalog.Route], which turns host, method and path into a
// [Route]. [Catalog.CredentialFor] finds who the catalogue says a principal is.
//
// It promises:
//
//   - nothing is half-loaded: Load gives a whole catalogue, or [Problems] that
//     name every problem with file, line and remedy;
//   - a published OpenAPI or Swagger document is read for its paths, servers
//     and security only, tolerantly, and what was passed over is in
//     [Catalog.Notes];
//   - a demand is never guessed: where a document does not say which scopes an
//     operation needs, the demand is unmapped and says why;
//   - Route allocates nothing on a hit, and its cost does not grow with the
//     number of services or templates. A loaded catalogue is immutable, so all
//     methods may be called by many goroutines at once.
//
// It cannot see: operations told apart by query, header or body; references to
// other documents; servers given for a single path or operation. Each of these
// is a note, and where it would make a demand uncertain, the demand is unmapped.
package catalog
