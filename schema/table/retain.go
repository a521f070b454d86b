package table

import (
	"errors"
	"fmt"
)

// Retention says for how many days what is kept; 0 leaves a table as it is, and
// Forever takes a limit away. Lifetime use, findings and grants have none.
type Retention struct {
	// Calls are the raw calls. Without them a finding's calls cannot be shown, and
	// changed routes and tenants no longer reach those days.
	Calls int
	// Hours is use and pace by hour, Days use and places by day. What is unused is
	// judged by days.
	Hours, Days int
}

// Forever takes a limit away.
const Forever = -1

var (
	errShort = errors.New("less than a day cannot be kept: days are dropped whole")
	errOrder = errors.New("use by day has to be kept at least as long as the raw calls: it is what they are folded to")
)

// Limit is a time limit of one table.
type Limit struct {
	Table string
	// Expression is the limit as the table's definition holds it, empty for none.
	Expression string
	// Statement sets it.
	Statement string
}

// Limits returns what brings the tables to the retention.
func (r Retention) Limits() ([]Limit, error) {
	for _, days := range []int{r.Calls, r.Hours, r.Days} {
		if days < Forever {
			return nil, errShort
		}
	}
	if r.Days > 0 && (r.Calls > r.Days || r.Calls == Forever) {
		return nil, errOrder
	}
	var limits []Limit
	for _, one := range []struct {
		table, from string
		days        int
	}{{Calls, "toDateTime(time)", r.Calls}, {UseHour, "hour", r.Hours}, {Pace, "hour", r.Hours}, {UseDay, "day", r.Days},
		{Places, "day", r.Days}, {Parameters, "day", r.Days}, {Instances, "day", r.Days}, {Issues, "toDateTime(time)", r.Days}} {
		switch {
		case one.days == Forever:
			limits = append(limits, Limit{one.table, "", "ALTER TABLE " + one.table + " REMOVE TTL"})
		case one.days > 0:
			expression := fmt.Sprintf("%s + toIntervalDay(%d)", one.from, one.days)
			limits = append(limits, Limit{one.table, expression, "ALTER TABLE " + one.table + " MODIFY TTL " + expression})
		}
	}
	return limits, nil
}
