// Package recommend finds the smaller grant: what a credential may lose without
// losing anything it was seen to need, with the proof and the way back.
//
// What you want: [New] with the detector's configuration, then
// [Recommender.Recommend] for one credential or [Recommender.All]. The result
// is data with JSON tags; how it looks as text is the caller's business.
//
// What it promises:
//
//   - A proposal never widens: it is made by leaving out scopes of entries that
//     are in force, and is checked against the grant it came from before it is
//     handed out.
//   - Every authorised call of the window that is no suspect stays authorised:
//     it is replayed against the proposal, and what would be refused is listed
//     (nothing, or there is a mistake).
//   - The proposal is the one that opens the least besides what is needed, then
//     the one with the fewest scopes; Optimal says whether that is proved.
//   - A scope is removed only where its silence means something. Where it does
//     not (a condition, unmapped use, too few days, nothing seen), it is kept
//     and listed as unknown with the reason.
//   - Suspicious calls are no need: those under findings of out-of-scope access,
//     probing, denied-then-allowed and away-from-home are listed as quarantined,
//     so that an intruder cannot launder a scope by using it.
//   - The result does not depend on the order of calls.
//
// # Limitations
//
// It recommends among the scopes that are held and does not invent narrower
// ones: of "s3:*" it cannot keep the half that is used. Grants through groups
// are taken as given. What the calendar did not bring in the window (a
// quarter's or year's end) was not seen; the caveats say so. Where nothing is
// declared, what the tokens presented stands for the grant.
package recommend
