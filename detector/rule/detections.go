package rule

import "slices"

// Detection is what is known about a detection before it finds anything.
type Detection struct {
	// Code and Name are those of a finding.
	Code, Name string
	// Short is one sentence: what it means when it fires.
	Short string
	// Help says what fires it and what does not.
	Help string
	// BenignIf says what makes a finding harmless.
	BenignIf string
	// Frameworks are ids of OWASP NHI 2025, OWASP API 2023, NIST CSF 2.0 and
	// MITRE ATT&CK.
	Frameworks []string
}

// The codes.
const (
	OutOfScopeAccess    = "D01"
	ScopeProbing        = "D02"
	DeniedThenAllowed   = "D03"
	UnusedScope         = "D04"
	BehaviourDrift      = "D05"
	AwayFromHome        = "D06"
	SharedCredential    = "D07"
	HumanUse            = "D08"
	BoundaryCrossing    = "D09"
	ObjectEnumeration   = "D10"
	LateralMovement     = "D11"
	ConfusedDeputy      = "D12"
	TokenLineage        = "D13"
	DormantUse          = "D14"
	Burst               = "D15"
	WeakCredential      = "D16"
	UnownedCredential   = "D17"
	OffPurposeUse       = "D18"
	frameworkAgentWatch = "MEASURE 2.7"
	frameworkAgentAct   = "MANAGE 4.1"
)

var detections = []Detection{
	{
		Code: OutOfScopeAccess, Name: "out-of-scope-access",
		Short: "A call was honoured although the credential did not hold a scope that the operation needs.",
		Help: "Fires on one call that was surely honoured (request and answer belong together), whose operation is known with its demand, " +
			"by a credential whose grant at that moment is known and does not satisfy it. Where demand or grant is unknown it says nothing. " +
			"Calls without effect (404, 409) are authorised but prove no access, and do not fire it alone.",
		BenignIf:   "the catalogue's demand for the operation, or the grant, is out of date, or the right comes from a policy that the catalogue does not hold",
		Frameworks: []string{"NHI5:2025", "API5:2023", "PR.AA-05", "T1078.004"},
	},
	{
		Code: ScopeProbing, Name: "scope-probing",
		Short: "A credential tried several operations that are new for it and out of its grant or refused, within an hour.",
		Help: "Fires on four or more distinct operations, over two or more services or three or more kinds of resource, within a sliding hour, " +
			"each of which the credential had never called before and each denied or out of grant. Operations are counted, never calls. " +
			"Operations refused on seven or more days are a stable misconfiguration and exempt; refused credentials (401) never count. " +
			"Sessions of one principal are counted together; users of one application apart.",
		BenignIf:   "a new release or a misconfigured deployment asked for more than it was given, or somebody tried on purpose what is refused",
		Frameworks: []string{"NHI5:2025", "API5:2023", "DE.CM-09", "T1526"},
	},
	{
		Code: DeniedThenAllowed, Name: "denied-then-allowed",
		Short: "An operation on an object was denied to a credential, and later allowed to it.",
		Help: "Fires when the first success on the same object (same principal, service, operation and tenant) comes 60 seconds or more after the first " +
			"of a run of denials and within 24 hours of the last, unless a declared grant that began in between explains it. " +
			"Calls without effect (404) do not end a run, and refused credentials (401) do not begin one.",
		BenignIf:   "somebody approved the access in between, or the service refused for a reason that passed",
		Frameworks: []string{"NHI5:2025", "PR.AA-05", "T1098"},
	},
	{
		Code: UnusedScope, Name: "unused-scope",
		Short: "A credential holds a scope that it did not use over a window in which use would have been seen.",
		Help: "Fires on a scope that was held for 30 or more observed days of the last 90 and that took part in no call, if the services it opens are covered by " +
			"the logs to 95 % or more. Where the catalogue does not say what the logs cover, it says so and the confidence is low. " +
			"Scopes declared rare are exempt. What it will not say is listed with the reason.",
		BenignIf:   "it is needed only at times that the window does not contain, such as the end of a year, or through traffic that the logs do not cover",
		Frameworks: []string{"NHI5:2025", "PR.AA-05"},
	},
	{
		Code: BehaviourDrift, Name: "behaviour-drift",
		Short: "A credential did, within its grant, what by its own habit it does not do.",
		Help: "Fires on a day on which a credential acts on two or more new operations, services or tenants that are improbable by its habit, or on one that touches secrets or rights. " +
			"New is what was never used before, or not for 30 days. Its habit counts after 14 days and 7 active days; until then it is compared with its workload's or owner's other credentials. " +
			"Agents, CI and people are judged by services, classes of operation, tenants and tools, not by single operations; a third party with an approved purpose by that. " +
			"What half of a workload's credentials begin within a week is a release, and said once. Use under an open high finding does not teach. It is a score: a day has a budget.",
		BenignIf:   "a release or a new feature of the workload needs it, or somebody on call used it",
		Frameworks: []string{"NHI5:2025", "DE.AE-02", "T1078.004"},
	},
	{
		Code: AwayFromHome, Name: "away-from-home",
		Short: "A session or key was used from outside the networks, or by another workload or client, than its own.",
		Help: "Fires on calls with an accepted credential from an address outside its approved networks, or by a workload that the network names and that is not the declared one. " +
			"What is not declared is learned: a session of an instance or pod is bound to its first address, and leaving it while it goes on being used there is a rule. " +
			"Sessions that may move, and keys with two weeks of habit, need a new network and another client, workload or system, while home is still used; " +
			"high where both are used at once, else a score. " +
			"Pools of ways out, failover, both versions of addresses, moves and calls of a cloud's own back end stay silent. " +
			"Calls that show no address or workload, and workload names of another form than the declared one, are not judged. " +
			"Refused credentials (401) do not count: anybody can send those.",
		BenignIf:   "the workload moved, or calls through a gateway or address translation that the catalogue does not list",
		Frameworks: []string{"NHI2:2025", "NHI9:2025", "API2:2023", "PR.AA-03", "T1550.001"},
	},
	{
		Code: SharedCredential, Name: "shared-credential",
		Short: "Several applications use one credential.",
		Help: "Fires where two or more workloads (or addresses with a kind of client, where the logs name none) used a machine credential on three or more of seven days " +
			"and have less than a fifth of their operations in common. Replicas, canaries that do a part of the work, blue and green, and successors with the same work are one application. " +
			"The reasons say what a leak in one opens of the others, and the split.",
		BenignIf:   "the places are parts of one application that were meant to share it",
		Frameworks: []string{"NHI9:2025", "PR.AA-01"},
	},
	{
		Code: HumanUse, Name: "human-use",
		Short: "A person drives a machine's credential.",
		Help: "Fires where five or more accepted calls by a client that people drive (browser, command-line tool, any client on a desktop system) bear two or more signs that add up to 0.7: " +
			"the client, uneven pauses of seconds to minutes, working hours, an exploring order of operations. Sittings that repeat each other's order of operations are scripts and do not count, " +
			"nor do command-line tools of build jobs or what an approved change covers. It is a score.",
		BenignIf:   "somebody helped the program out on purpose (break-glass), or a script behaves like a person",
		Frameworks: []string{"NHI10:2025", "DE.CM-03"},
	},
	{
		Code: LateralMovement, Name: "lateral-movement",
		Short: "A workload acted with a credential that is at home elsewhere and was neither handed nor issued to it.",
		Help: "Fires where a workload that has credentials of its own uses one that is at home at another: declared, or learned from 95 % of seven or more days. " +
			"A credential that came with the same trace, names one of the workload's own as its actor, or was issued to one of them is no switch, nor is one that moves house, " +
			"a key that takes another's place, or a workload that has no credentials of its own yet. It is a rule where the trace shows what caused it and " +
			"neither that credential nor the workload's own ever reached what was reached or is granted it; else a score. " +
			"Switches within a day that follow from each other are one finding, with the way hop by hop.",
		BenignIf:   "the two workloads share the credential on purpose, or the workload took over the other's work",
		Frameworks: []string{"NHI9:2025", "T1550.001", "T1021.007"},
	},
	{
		Code: ConfusedDeputy, Name: "confused-deputy",
		Short: "A service acted for a caller beyond what that caller may do.",
		Help: "Fires where a trace shows that a call in one tenant made a service act in another, without saying for whom: as a rule where the caller is approved for other tenants only, " +
			"as a score where it was only ever seen in its own. A credential that is approved for the tenant, whoever asks, stays silent. " +
			"As posture it lists privileged operations (admin, secret, mint, sensitivity 4) that a caller's calls cause in twenty or more requests and that its declared grant lacks.",
		BenignIf:   "the service is meant to act across tenants, or checks for whom it acts in a way that the log does not show",
		Frameworks: []string{"API5:2023", "PR.AA-05", "T1199"},
	},
	{
		Code: TokenLineage, Name: "token-lineage",
		Short: "A credential was issued in a way that widens, deepens or is new.",
		Help: "Fires on what was issued and then used: a token that presents scopes which the one it was issued for did not, and which the catalogue gives to neither (a rule); " +
			"a lasting key that a session made, or that was used within 15 minutes from another network; a chain of more than three issues, longer than any before; " +
			"and, as a score, the first credential that an issuer known for ten days obtains as somebody new, where it seldom does. " +
			"Where a call carries no scopes nothing is compared. An issuer of lasting keys on three days before does its work.",
		BenignIf:   "the exchange, the new federation or the new key was set up on purpose",
		Frameworks: []string{"NHI4:2025", "NHI7:2025", "T1528", "T1098.001"},
	},
	{
		Code: BoundaryCrossing, Name: "boundary-crossing",
		Short: "A machine's credential acted in a tenant or environment that is not its own, or used a privileged function for the first time.",
		Help: "Fires where a credential that acted in one tenant or environment only, on seven or more days over two or more weeks, does something in another that others knew before; " +
			"and on the first use of a function of class admin, secret or mint after such a time without any, where the grant is not known. " +
			"It is a rule where the home is outside of production and the crossing leads into it; else a score. " +
			"What approved tenants, environments or operations speak about is off-purpose-use instead. Credentials that work in several places, tenants that are new to everybody, and approved changes are left out.",
		BenignIf:   "its work has grown to the other tenant or environment, or it supports all of them and had not come to this one yet",
		Frameworks: []string{"NHI8:2025", "API1:2023", "PR.IR-01"},
	},
	{
		Code: ObjectEnumeration, Name: "object-enumeration",
		Short: "A credential touched unusually many objects of one operation, or walked along their ids.",
		Help: "Fires on an hour with more than 50 distinct objects and more than three times what 99.5 % of its own hours with that operation keep to; where it is too young for that, of other credentials' hours. " +
			"Also on an unusual hour in which 20 or more ids follow each other. Objects that do not exist or are refused tell that ids were guessed; amount alone, and ids that all exist, are what exports do, and low. " +
			"An unusual amount without guesses becomes usual after a week. It is a score: a day has a budget.",
		BenignIf:   "an export, a back-fill or a crawler of its owner reads everything at that time",
		Frameworks: []string{"API1:2023", "API3:2023", "T1530", "T1619"},
	},
	{
		Code: DormantUse, Name: "dormant-use",
		Short: "A credential was accepted after it expired, was revoked or lost its owner, or after it was silent for months.",
		Help: "Fires on accepted calls later than the catalogue's expires, revoked or owner_until of the credential, with two minutes for clocks that disagree, " +
			"and on the return of a machine's credential after 60 or more observed days without a call. Refused credentials (401) never count. " +
			"Approved changes, silences that the logs do not cover, jobs that return after about as long for the third time, and scopes declared rare are left out, and listed.",
		BenignIf:   "the credential was renewed or given a new owner and the catalogue does not say so yet, or the job is one that runs once a year",
		Frameworks: []string{"NHI1:2025", "NHI7:2025", "PR.AA-01"}},
	{
		Code: Burst, Name: "burst",
		Short: "A credential worked far faster than ever, or read many secrets at once.",
		Help: "Fires on an hour with 60 or more calls of one class of operations at a service, more than three times what 99 % of its hours keep to, that the same hour of two or more earlier weeks makes improbable (1 in 100,000), and whose busiest minute is so, too. " +
			"Of secrets, on ten or more distinct ones within ten minutes, if that is more than three times what its hours keep to. What fired is not taken for usual. " +
			"Where half of those that call the service are busier than usual in the same hour, it is a restart, and said once. It is a score: a day has a budget.",
		BenignIf:   "a job that runs rarely, a load test or a restart of the workload fell into that hour",
		Frameworks: []string{"NHI2:2025", "API4:2023", "T1552", "T1119"},
	},
	{
		Code: WeakCredential, Name: "weak-credential",
		Short: "A credential is made or carried in a way that makes it easy to steal or hard to withdraw.",
		Help: "Fires on accepted machine credentials that are passwords (basic authentication), stand in the URL, are static and older than 90 days, have tokens that outlive the max_token_lifetime " +
			"of the catalogue, or are one key in production and in another environment. All that is weak about one credential is one finding. Without a catalogue it is one summary. " +
			"What calls do not carry (encryption of the transport, algorithm and audience of tokens) is not judged.",
		BenignIf:   "the calls never leave a closed network, or the key is kept and changed by something that the catalogue does not know",
		Frameworks: []string{"NHI2:2025", "NHI4:2025", "NHI7:2025", "API2:2023", "API8:2023"},
	},
	{
		Code: UnownedCredential, Name: "unowned-credential",
		Short: "A machine credential is in use of which neither owner, workload nor purpose is known.",
		Help: "Fires on machine credentials that were accepted at least once and of which the catalogue knows neither owner, workload nor purpose. " +
			"Without a catalogue it is one summary.",
		BenignIf:   "it is known elsewhere and only missing in the catalogue",
		Frameworks: []string{"NHI1:2025", "ID.AM-08"},
	},
	{
		Code: OffPurposeUse, Name: "off-purpose-use",
		Short: "A credential did what it may do, but outside the purpose that was approved for it.",
		Help: "Fires on honoured calls within the grant (or where the grant is unknown) to services, operations, environments or tenants that the credential's approved purpose does not list. " +
			"A list that is absent does not restrict. What is out of grant is out-of-scope-access instead.",
		BenignIf:   "the purpose has grown and the approved list was not brought up to date",
		Frameworks: []string{"NHI5:2025", "GV.PO-02", "PR.AA-05"},
	},
}

// Detections returns all detections of this package, in order of their codes.
func Detections() []Detection {
	list := slices.Clone(detections)
	for i := range list {
		list[i].Frameworks = slices.Clone(list[i].Frameworks)
	}
	return list
}

// detection returns the detection of that code; an unknown one is a
// programming error.
func detection(code string) *Detection {
	for i := range detections {
		if detections[i].Code == code {
			return &detections[i]
		}
	}
	panic("rule: no detection " + code)
}
