// Package investigate gathers what is known about one credential or workload,
// or about the credential of a finding: who it is, what it did and when, what it
// could have done, from where, and what to ask next.
//
// What you want: [New] with the detector's configuration and the stored
// findings, then [Investigator.Investigate]. The result is data with JSON tags;
// how it looks as text, graph or document is the caller's business.
//
// It promises that an answer is a pure function of stored calls, catalogue,
// findings and question; that verdicts are those of the detector; and that the
// questions it puts to the store are narrowed to the credentials asked about,
// and answered from rollups wherever those can tell. Only the question of which
// credentials a workload used looks at all calls of the window, at few columns.
//
// # Limitations
//
// Where the catalogue declares no home for a credential, a stranger is a place
// that is new after a week's use from others: a thief who was there from the
// first day on, or in a shorter log, is not told apart. Calls that carry neither
// address nor workload have no place. What was possible is what the catalogue
// and the presented scopes tell: for services whose operations nobody lists, the
// scopes stand in their place.
package investigate
