package detector

import (
	"strings"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// daily writes the rows of a rollup by day that lie in a window and fulfil a
// condition, which is on columns that the calls have as well. Of days that a bound
// of the window divides the calls are folded instead, as the rollup folds them.
func daily(name string, w schema.Window, condition string) (string, error) {
	days, _ := divided(&RowQuery{Window: w})
	rows := "SELECT * FROM " + name + " WHERE day >= " + date(w.From) + " AND day < " + date(w.To) + not("day", dateList(days)) + condition
	if len(days) == 0 {
		return "(" + rows + ")", nil
	}
	feed, err := table.FeedOf(name)
	if err != nil {
		return "", err
	}
	query, group, _ := strings.Cut(feed.Query, "\nGROUP BY")
	return "(" + rows + " UNION ALL " + query + condition + within(w) + " AND toDate(time) IN (" + dateList(days) + ")\nGROUP BY" + group + ")", nil
}
