package schema

// Coverage is what share of a service's traffic was seen in a window, and what
// could not be seen.
type Coverage struct {
	// Service is the service it speaks about; empty is all of them.
	Service string `json:"service,omitempty"`
	Window  Window `json:"window"`
	// Known says that the catalogue declares what the logs cover. Where it is
	// false, Share is meaningless and "unused" means "as far as these logs
	// show".
	Known bool `json:"known"`
	// Share is 0..1: seen over all, days weighing alike.
	Share float64 `json:"share"`
	// Days are the days of the window, DaysSeen those with complete ranges.
	Days     int `json:"days"`
	DaysSeen int `json:"days_seen"`
	// Holes say in words what could not be seen.
	Holes []string `json:"holes,omitempty"`
}
