package compare

import "github.com/scopedrift/scopedrift/schema"

// EventDemand tells which IAM actions a CloudTrail event needs, by our own
// table of facts. The event is written "service:EventName", service being the
// event source without ".amazonaws.com".
func EventDemand(event string) schema.Demand {
	return schema.Demand{Why: "todo " + event}
}
