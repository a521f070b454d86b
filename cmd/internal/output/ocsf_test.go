package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/scopedrift/scopedrift/schema"
)

// ocsfShape is what OCSF 1.8.0 says of an object, as far as we write it: "!" marks
// what is required, "?" one of which must be there, ":x" the shape of a value,
// "[]" a list of them.
var ocsfShape = map[string]string{
	"2004": "activity_id! activity_name category_uid! category_name class_uid! class_name type_uid! time! start_time end_time severity_id! severity status_id status message count " +
		"confidence_id confidence_score is_alert metadata!:metadata finding_info!:finding_info evidences:evidences[] anomaly_analyses:anomaly_analysis[] resources:named[] remediation:remediation unmapped",
	"2008": "activity_id! activity_name category_uid! category_name class_uid! class_name type_uid! time! start_time end_time severity_id! severity status_id status message count " +
		"confidence_id confidence_score metadata!:metadata finding_info!:finding_info resources:named[] remediation:remediation unmapped user:user permission_analysis_results?:privileges[] identity_activity_metrics?:metrics",
	"metadata":         "version! product!:product",
	"product":          "name? uid? vendor_name version",
	"finding_info":     "uid! title desc first_seen_time last_seen_time types analytic:analytic attacks:attack[] tags:tag[]",
	"analytic":         "uid? name? type_id! type version desc",
	"attack":           "technique?:uid sub_technique?:uid tactic?",
	"uid":              "uid!",
	"tag":              "name! values! value",
	"named":            "name? uid? type",
	"user":             "name? uid? type_id type",
	"evidences":        "name uid api?:api actor?:actor src_endpoint?:endpoint http_request:request data?",
	"api":              "operation! service:named response:response",
	"response":         "code message",
	"actor":            "user?:user session?:uid",
	"endpoint":         "ip? name?",
	"request":          "http_method user_agent",
	"anomaly_analysis": "analysis_targets!:named[] anomalies!:anomaly[] baselines:anomaly[]",
	"anomaly":          "observation_parameter! observations!:observation[]",
	"observation":      "value!",
	"privileges":       "granted_privileges unused_privileges_count",
	"metrics":          "first_seen_time last_seen_time",
	"remediation":      "desc!",
}

// misshapen says what of a value does not fit its shape.
func misshapen(path, shape string, value any) (problems []string) {
	if inner, list := strings.CutSuffix(shape, "[]"); list {
		items, ok := value.([]any)
		if !ok || len(items) == 0 {
			return []string{path + " is no list with something in it"}
		}
		for i, item := range items {
			problems = append(problems, misshapen(fmt.Sprintf("%s[%d]", path, i), inner, item)...)
		}
		return problems
	}
	object, ok := value.(map[string]any)
	if !ok {
		return []string{path + " is no object"}
	}
	known, one, any := map[string]string{}, false, false
	for _, word := range strings.Fields(ocsfShape[shape]) {
		name, inner, _ := strings.Cut(word, ":")
		bare := strings.TrimRight(name, "!?")
		known[bare] = inner
		_, has := object[bare]
		if strings.HasSuffix(name, "!") && !has {
			problems = append(problems, path+" lacks "+bare)
		}
		if strings.HasSuffix(name, "?") {
			any, one = true, one || has
		}
	}
	if any && !one {
		problems = append(problems, path+" has none of what it needs one of")
	}
	for name, v := range object {
		inner, ok := known[name]
		switch {
		case !ok:
			problems = append(problems, path+" has "+name+", which the schema does not know")
		case inner != "":
			problems = append(problems, misshapen(path+"."+name, inner, v)...)
		case v == "" || v == nil:
			problems = append(problems, path+"."+name+" is empty")
		}
	}
	slices.Sort(problems)
	return problems
}

// ocsfLines are the documents of all test reports, and of one of each status.
func ocsfLines(t *testing.T) [][]byte {
	t.Helper()
	var out bytes.Buffer
	for _, r := range reports() {
		for _, status := range []schema.Status{schema.StatusOpen, schema.StatusResolved, schema.StatusSuppressed} {
			for i := range r.Findings {
				r.Findings[i].Status = status
			}
			if err := Write(&out, OCSF, r, testOptions()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
}

// TestOCSF holds every document to the attributes of the standard, and to the
// published JSON Schema where SCOPEDRIFT_OCSF_SCHEMA names a directory that holds
// it (detection_finding.schema.json, iam_analysis_finding.schema.json).
func TestOCSF(t *testing.T) {
	published := map[string]*jsonschema.Schema{}
	if dir := os.Getenv("SCOPEDRIFT_OCSF_SCHEMA"); dir != "" {
		for class, name := range map[string]string{"2004": "detection_finding", "2008": "iam_analysis_finding"} {
			one, err := jsonschema.NewCompiler().Compile(filepath.Join(dir, name+".schema.json"))
			if err != nil {
				t.Fatal(err)
			}
			published[class] = one
		}
	}
	classes := map[string]int{}
	for _, line := range ocsfLines(t) {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err != nil {
			t.Fatal(err)
		}
		object := doc.(map[string]any)
		class := fmt.Sprint(object["class_uid"])
		classes[class]++
		for _, problem := range misshapen("finding", class, doc) {
			t.Errorf("%s\n%s", problem, line)
		}
		if want := fmt.Sprintf("%s0%s", class, object["activity_id"]); fmt.Sprint(object["type_uid"]) != want {
			t.Errorf("type_uid is %v, want %s", object["type_uid"], want)
		}
		if s := published[class]; s != nil {
			if err := s.Validate(doc); err != nil {
				t.Errorf("%v\n%s", err, line)
			}
		}
	}
	if classes["2004"] == 0 || classes["2008"] == 0 {
		t.Errorf("not every class was written: %v", classes)
	}
}

// TestOCSFShapeBites makes sure that the test can fail.
func TestOCSFShapeBites(t *testing.T) {
	for _, text := range []string{`{}`, `{"class_uid": 2004}`, `[]`, `{"evidences": []}`, `{"surprise": 1}`} {
		var doc any
		if err := json.Unmarshal([]byte(text), &doc); err != nil {
			t.Fatal(err)
		}
		if len(misshapen("x", "2004", doc)) == 0 {
			t.Errorf("%s passed", text)
		}
	}
}

// TestOCSFSays wants a finding's words to arrive where readers look for them.
func TestOCSFSays(t *testing.T) {
	text := string(bytes.Join(ocsfLines(t), []byte("\n")))
	for _, want := range []string{`"severity_id":4,"severity":"High"`, `"status_id":3,"status":"Suppressed"`, `"type_uid":200403`, `"technique":{"uid":"T1078"},"sub_technique":{"uid":"T1078.004"}`,
		`"unused_privileges_count":1`, `"owasp-nhi/NHI5:2025"`, `"product":{"name":"scopedrift"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}
