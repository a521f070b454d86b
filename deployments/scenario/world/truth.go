package world

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"time"
)

// Campaign is what one attacker did, or one thing that went wrong, with what
// should be seen of it.
type Campaign struct {
	ID string `json:"id"`
	// Goal is explore, spread, reach, or single for one deed made for one
	// detection.
	Goal string `json:"goal"`
	// Stealth is loud, pairs (only services that the credential called before),
	// active (only while the credential is in use), both, or slow.
	Stealth string `json:"stealth"`
	// Entry is how the attacker came in.
	Entry string `json:"entry"`
	// From and To are the first and last call.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Credentials are the names of those misused, as the catalogue has them,
	// else the observed ids.
	Credentials []string `json:"credentials"`
	Calls       int      `json:"calls"`
	// Must are the codes whose definition the calls fulfil, May those that
	// would be no error: consequences, and borderline cases.
	Must []string `json:"must"`
	May  []string `json:"may"`
	// Seen holds, by code, when the definition was first fulfilled.
	Seen map[string]time.Time `json:"seen,omitempty"`
}

// LookAlike is something harmless that a careless detection would report.
type LookAlike struct {
	ID string `json:"id"`
	// Code must stay silent about Credentials between From and To.
	Code        string    `json:"code"`
	What        string    `json:"what"`
	Credentials []string  `json:"credentials"`
	From        time.Time `json:"from"`
	To          time.Time `json:"to"`
	// Change says that only an approved change makes it harmless.
	Change bool `json:"change,omitempty"`
}

// Fault is something wrong with the company itself, at any time.
type Fault struct {
	Code       string `json:"code"`
	Credential string `json:"credential"`
	// Scope is the one in excess, for D04.
	Scope string `json:"scope,omitempty"`
	Why   string `json:"why"`
	// May says that reporting it is right and not reporting it no failure.
	May bool `json:"may,omitempty"`
}

// Marked is a call that belongs to a campaign or look-alike.
type Marked struct {
	Time       time.Time `json:"time"`
	Service    string    `json:"service"`
	Operation  string    `json:"operation"`
	Tenant     string    `json:"tenant,omitempty"`
	Status     int       `json:"status"`
	Credential string    `json:"credential"`
	Campaign   string    `json:"campaign,omitempty"`
	LookAlike  string    `json:"look_alike,omitempty"`
	// Shows are the codes that this call alone, or as the one that completes
	// them, should make fire.
	Shows []string `json:"shows,omitempty"`
}

// Truth is all that is known about a world.
type Truth struct {
	Campaigns  []Campaign
	LookAlikes []LookAlike
	Faults     []Fault
	Calls      []Marked
	// Used says which scopes each credential needed, "credential scope".
	Used map[string]bool
	// Lines counts the calls written, Credentials those declared.
	Lines, Credentials int
}

// add puts a code into a list once.
func add(list []string, codes ...string) []string {
	for _, code := range codes {
		if !slices.Contains(list, code) {
			list = append(list, code)
		}
	}
	slices.Sort(list)
	return list
}

// write writes the truth as JSON lines, each an object with one key that says
// what it is.
func (t *Truth) write(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	e := json.NewEncoder(out)
	for i := range t.Campaigns {
		if err := e.Encode(map[string]any{"campaign": t.Campaigns[i]}); err != nil {
			return err
		}
	}
	for i := range t.LookAlikes {
		if err := e.Encode(map[string]any{"look_alike": t.LookAlikes[i]}); err != nil {
			return err
		}
	}
	for i := range t.Faults {
		if err := e.Encode(map[string]any{"fault": t.Faults[i]}); err != nil {
			return err
		}
	}
	for i := range t.Calls {
		if err := e.Encode(map[string]any{"call": t.Calls[i]}); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return file.Close()
}
