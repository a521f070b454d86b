package rule

// The budget of findings that are scores: what people can look at in a day.
const (
	// budgetPer is how many a day there may be for each budgetOf active
	// identities, budgetLeast how many at least.
	budgetPer, budgetOf, budgetLeast = 10, 1000, 5
)

// FalseShare is which share of a day's discoveries may be chance.
const FalseShare = 0.05

// Budget returns how many scores of one day count where so many identities are
// active.
func Budget(active int) int {
	return max(budgetLeast, active*budgetPer/budgetOf)
}
