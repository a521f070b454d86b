package output

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// ocsfVersion is the release of the Open Cybersecurity Schema Framework that is
// written.
const ocsfVersion = "1.8.0"

// The classes that findings become: what somebody did is a Detection Finding;
// what a credential merely holds or lacks is an IAM Analysis Finding.
const (
	ocsfCategory  = 2
	ocsfDetection = 2004
	ocsfAnalysis  = 2008
)

// ocsfPosture are the detections that speak of what a credential is or holds,
// rather than of calls.
var ocsfPosture = []string{"D04", "D17"}

// The parts of OCSF that we write. Names are the standard's.
type (
	ocsfFinding struct {
		ActivityID      int              `json:"activity_id"`
		ActivityName    string           `json:"activity_name"`
		CategoryUID     int              `json:"category_uid"`
		CategoryName    string           `json:"category_name"`
		ClassUID        int              `json:"class_uid"`
		ClassName       string           `json:"class_name"`
		TypeUID         int              `json:"type_uid"`
		Time            int64            `json:"time"`
		StartTime       int64            `json:"start_time,omitempty"`
		EndTime         int64            `json:"end_time,omitempty"`
		SeverityID      int              `json:"severity_id"`
		Severity        string           `json:"severity"`
		StatusID        int              `json:"status_id"`
		Status          string           `json:"status"`
		Message         string           `json:"message"`
		Count           uint64           `json:"count,omitempty"`
		ConfidenceID    int              `json:"confidence_id"`
		ConfidenceScore int              `json:"confidence_score"`
		IsAlert         *bool            `json:"is_alert,omitempty"`
		Metadata        ocsfMetadata     `json:"metadata"`
		Info            ocsfInfo         `json:"finding_info"`
		Evidences       []ocsfEvidence   `json:"evidences,omitempty"`
		Anomalies       []ocsfAnomalies  `json:"anomaly_analyses,omitempty"`
		Resources       []ocsfNamed      `json:"resources,omitempty"`
		User            *ocsfUser        `json:"user,omitempty"`
		Privileges      []ocsfPrivileges `json:"permission_analysis_results,omitempty"`
		Metrics         *ocsfMetrics     `json:"identity_activity_metrics,omitempty"`
		Remediation     *ocsfRemediation `json:"remediation,omitempty"`
		Unmapped        map[string]any   `json:"unmapped"`
	}
	ocsfMetadata struct {
		Version string      `json:"version"`
		Product ocsfProduct `json:"product"`
	}
	ocsfProduct struct {
		Name    string `json:"name"`
		Vendor  string `json:"vendor_name"`
		Version string `json:"version"`
	}
	ocsfInfo struct {
		UID      string       `json:"uid"`
		Title    string       `json:"title"`
		Desc     string       `json:"desc,omitempty"`
		First    int64        `json:"first_seen_time,omitempty"`
		Last     int64        `json:"last_seen_time,omitempty"`
		Types    []string     `json:"types"`
		Analytic ocsfAnalytic `json:"analytic"`
		Attacks  []ocsfAttack `json:"attacks,omitempty"`
		Tags     []ocsfTag    `json:"tags,omitempty"`
	}
	ocsfAnalytic struct {
		UID     string `json:"uid"`
		Name    string `json:"name"`
		TypeID  int    `json:"type_id"`
		Type    string `json:"type"`
		Version string `json:"version"`
		Desc    string `json:"desc,omitempty"`
	}
	ocsfAttack struct {
		Technique *ocsfUID `json:"technique,omitempty"`
		Sub       *ocsfUID `json:"sub_technique,omitempty"`
	}
	ocsfUID struct {
		UID string `json:"uid"`
	}
	ocsfTag struct {
		Name   string   `json:"name"`
		Values []string `json:"values"`
	}
	ocsfNamed struct {
		Name string `json:"name"`
		Type string `json:"type,omitempty"`
		UID  string `json:"uid,omitempty"`
	}
	ocsfUser struct {
		Name   string `json:"name,omitempty"`
		UID    string `json:"uid,omitempty"`
		TypeID int    `json:"type_id"`
		Type   string `json:"type"`
	}
	ocsfEvidence struct {
		Name    string       `json:"name"`
		UID     string       `json:"uid"`
		API     ocsfAPI      `json:"api"`
		Actor   ocsfActor    `json:"actor"`
		Source  *ocsfPlace   `json:"src_endpoint,omitempty"`
		Request *ocsfRequest `json:"http_request,omitempty"`
		Data    *schema.Call `json:"data"`
	}
	ocsfAPI struct {
		Operation string        `json:"operation"`
		Service   *ocsfNamed    `json:"service,omitempty"`
		Response  *ocsfResponse `json:"response,omitempty"`
	}
	ocsfResponse struct {
		Code    int    `json:"code,omitempty"`
		Message string `json:"message"`
	}
	ocsfActor struct {
		User    ocsfUser `json:"user"`
		Session *ocsfUID `json:"session,omitempty"`
	}
	ocsfPlace struct {
		IP   string `json:"ip,omitempty"`
		Name string `json:"name,omitempty"`
	}
	ocsfRequest struct {
		Method string `json:"http_method,omitempty"`
		Agent  string `json:"user_agent,omitempty"`
	}
	ocsfAnomalies struct {
		Targets   []ocsfNamed   `json:"analysis_targets"`
		Anomalies []ocsfAnomaly `json:"anomalies"`
		Baselines []ocsfAnomaly `json:"baselines,omitempty"`
	}
	ocsfAnomaly struct {
		Parameter    string            `json:"observation_parameter"`
		Observations []ocsfObservation `json:"observations"`
	}
	ocsfObservation struct {
		Value string `json:"value"`
	}
	ocsfPrivileges struct {
		Granted []string `json:"granted_privileges,omitempty"`
		Unused  int      `json:"unused_privileges_count,omitempty"`
	}
	ocsfMetrics struct {
		First int64 `json:"first_seen_time,omitempty"`
		Last  int64 `json:"last_seen_time,omitempty"`
	}
	ocsfRemediation struct {
		Desc string `json:"desc"`
	}
)

// writeOCSF writes each finding as one OCSF document on a line of its own.
func writeOCSF(w io.Writer, r *Report, o Options) error {
	for i := range r.Findings {
		one := ocsfOf(&r.Findings[i], r, o)
		if err := Line(w, &one); err != nil {
			return err
		}
	}
	return nil
}

// millis is how OCSF writes times; 0 is none.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func ocsfOf(f *schema.Finding, r *Report, o Options) ocsfFinding {
	d := ocsfFinding{
		CategoryUID: ocsfCategory, CategoryName: "Findings", ClassUID: ocsfDetection, ClassName: "Detection Finding",
		Time: millis(f.Last), StartTime: millis(f.First), EndTime: millis(f.Last), Message: f.Title, Count: f.Calls,
		SeverityID: int(f.Severity) + 2, Severity: strings.ToUpper(f.Severity.String()[:1]) + f.Severity.String()[1:],
		ConfidenceScore: int(f.Confidence*100 + 0.5), ConfidenceID: ocsfConfidence(f.Confidence),
		Metadata: ocsfMetadata{ocsfVersion, ocsfProduct{"scopedrift", "scopedrift", firstOf(r.Version, "unknown")}},
		Info:     ocsfInfoOf(f, r, o), Unmapped: ocsfUnmapped(f),
	}
	if d.Time == 0 {
		// What is no matter of a moment is said of the end of the window.
		d.Time = millis(r.Window.To)
	}
	d.ActivityID, d.ActivityName, d.StatusID, d.Status = 1, "Create", 1, "New"
	switch f.Status {
	case schema.StatusResolved:
		d.ActivityID, d.ActivityName, d.StatusID, d.Status = 3, "Close", 4, "Resolved"
	case schema.StatusSuppressed:
		d.ActivityID, d.ActivityName, d.StatusID, d.Status = 2, "Update", 3, "Suppressed"
	}
	if next := o.next(f.Next); len(next) > 0 {
		d.Remediation = &ocsfRemediation{strings.Join(next, "\n")}
	}
	if f.Service != "" {
		d.Resources = []ocsfNamed{{Name: f.Service, Type: "service"}}
	}
	if slices.Contains(ocsfPosture, f.Code) {
		d.ClassUID, d.ClassName = ocsfAnalysis, "IAM Analysis Finding"
		user := ocsfUserOf(f.Credential.ID, "", f.Credential.Kind)
		if len(f.Credential.Observed) > 0 {
			user.UID = f.Credential.Observed[0]
		}
		d.User = &user
		d.Metrics = &ocsfMetrics{millis(f.First), millis(f.Last)}
		if f.Scope != "" {
			// A finding is about one scope; what else is held stands beside it.
			d.Privileges = []ocsfPrivileges{{Granted: slices.Concat([]string{f.Scope}, without(f.Evidence.Granted, f.Scope)), Unused: 1}}
		}
	} else {
		raised := f.Status == schema.StatusOpen && !f.OverBudget
		d.IsAlert = &raised
		for i := range f.Evidence.Calls {
			d.Evidences = append(d.Evidences, ocsfCall(&f.Evidence.Calls[i]))
		}
		d.Anomalies = ocsfAnomaliesOf(f)
	}
	d.TypeUID = d.ClassUID*100 + d.ActivityID
	return d
}

func without(list []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == name })
}

func ocsfConfidence(c float64) int {
	switch {
	case c < 0.5:
		return 1
	case c < 0.8:
		return 2
	}
	return 3
}

func ocsfInfoOf(f *schema.Finding, r *Report, o Options) ocsfInfo {
	info := ocsfInfo{UID: string(f.ID), Title: f.Title, Desc: strings.Join(f.Reasons, "\n"), First: millis(f.First), Last: millis(f.Last),
		Types:    []string{f.Detection},
		Analytic: ocsfAnalytic{UID: f.Code, Name: firstOf(f.Detection, f.Code), TypeID: 1, Type: "Rule", Version: firstOf(r.Version, "unknown")}}
	if f.Score != nil {
		info.Analytic.TypeID, info.Analytic.Type = 2, "Behavioral"
	}
	for _, d := range o.Detections {
		if d.Code == f.Code {
			info.Analytic.Desc = d.Short
		}
	}
	var tags []string
	for _, id := range f.Frameworks {
		if tag := frameworkTag(id); !strings.HasPrefix(tag, "mitre-attack/") {
			tags = append(tags, tag)
			continue
		}
		base, _, sub := strings.Cut(id, ".")
		a := ocsfAttack{Technique: &ocsfUID{base}}
		if sub {
			a.Sub = &ocsfUID{id}
		}
		info.Attacks = append(info.Attacks, a)
	}
	if len(tags) > 0 {
		info.Tags = []ocsfTag{{"frameworks", tags}}
	}
	return info
}

// ocsfUnmapped is what of a finding OCSF has no word for.
func ocsfUnmapped(f *schema.Finding) map[string]any {
	m := map[string]any{"credential": f.Credential}
	add := func(name, value string) {
		if value != "" {
			m[name] = value
		}
	}
	add("session", f.Session)
	add("operation", f.Operation)
	add("scope", f.Scope)
	add("tenant", f.Tenant)
	add("environment", f.Environment)
	add("benign_if", f.Evidence.BenignIf)
	if f.Verdict != nil {
		add("verdict", f.Verdict.String())
	}
	if len(f.Evidence.Demand) > 0 {
		m["demand"] = f.Evidence.Demand
	}
	if f.Evidence.Granted != nil {
		m["granted"] = f.Evidence.Granted
	}
	if f.Evidence.Coverage != nil {
		m["coverage"] = f.Evidence.Coverage
	}
	if len(f.Evidence.Hops) > 0 {
		m["hops"] = f.Evidence.Hops
	}
	return m
}

func ocsfUserOf(name, uid, kind string) ocsfUser {
	u := ocsfUser{Name: name, UID: uid, TypeID: 4, Type: "Service"}
	switch kind {
	case "human", "user_token":
		u.TypeID, u.Type = 1, "User"
	case "unknown", "anonymous", "":
		u.TypeID, u.Type = 0, "Unknown"
	}
	return u
}

// ocsfMethods are the methods that the standard knows.
var ocsfMethods = []string{"OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH"}

func ocsfCall(c *schema.Call) ocsfEvidence {
	e := ocsfEvidence{Name: "call", UID: c.ID.String(), Data: c,
		API:   ocsfAPI{Operation: firstOf(c.Operation, c.Method, "unknown"), Response: &ocsfResponse{int(c.Status), c.Decision.String()}},
		Actor: ocsfActor{User: ocsfUserOf(CredentialName(&c.Credential), c.Credential.ID, c.Credential.Kind.String())}}
	if c.Service != "" {
		e.API.Service = &ocsfNamed{Name: c.Service}
	}
	if c.Credential.Session != "" {
		e.Actor.Session = &ocsfUID{c.Credential.Session}
	}
	if c.ClientAddress.IsValid() || c.Workload != "" {
		e.Source = &ocsfPlace{Name: c.Workload}
		if c.ClientAddress.IsValid() {
			e.Source.IP = c.ClientAddress.WithZone("").String()
		}
	}
	method := c.Method
	if !slices.Contains(ocsfMethods, method) {
		method = ""
	}
	if method != "" || c.UserAgent != "" {
		e.Request = &ocsfRequest{method, c.UserAgent}
	}
	return e
}

// ocsfAnomaliesOf tells usual and seen.
func ocsfAnomaliesOf(f *schema.Finding) []ocsfAnomalies {
	if len(f.Evidence.Seen) == 0 {
		return nil
	}
	parameter := fmt.Sprintf("use of %s", f.Credential.ID)
	observed := func(list []string) (out []ocsfObservation) {
		for _, s := range list {
			out = append(out, ocsfObservation{s})
		}
		return out
	}
	a := ocsfAnomalies{Targets: []ocsfNamed{{Name: f.Credential.ID, Type: "credential"}}, Anomalies: []ocsfAnomaly{{parameter, observed(f.Evidence.Seen)}}}
	if len(f.Evidence.Usual) > 0 {
		a.Baselines = []ocsfAnomaly{{parameter, observed(f.Evidence.Usual)}}
	}
	return []ocsfAnomalies{a}
}
