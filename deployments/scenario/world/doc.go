// Package world simulates whole companies with known truth, so that detections
// can be measured on traffic that nobody tuned them for.
//
// [Write] turns a [Config] into a directory of real log formats (the mesh's
// access log as Envoy writes it, the cloud's trail, the cluster's audit log,
// the portal's web server), the catalogue that such a company would keep, and
// truth.jsonl: which calls belong to which [Campaign] of an attacker, which to a
// [LookAlike] that is harmless and must not be reported, and what is wrong with
// the company itself ([Fault]). [Dev] are the worlds to develop with, [Held]
// those to measure with; they share neither seeds nor names nor sizes.
//
// It promises the same bytes for the same configuration. Expected detections
// are worked out from what an attacker did and the definitions of the
// detections, never from what a detector said. It cannot show that a real
// company looks like this one: figures from it are figures about it.
package world
