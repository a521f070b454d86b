package cli

import (
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

// TestCorpusStolenSession: in a log of a simulated theft, the keys of an
// instance's role are used from a desk. All eleven calls of that session are the
// theft, and nothing else is.
func TestCorpusStolenSession(t *testing.T) {
	p := onCorpus(t)
	report, calls, _ := p.scan(p.at("cloudtrail/otrf-ec2-proxy-s3-exfiltration.ndjson"))
	const session = "MordorNginxStack-BankingWAFRole-9S3E0UAE1MM0/i-0317f6c6b66ae9c40"
	stolen := 0
	for _, f := range report.Findings {
		if f.Severity < schema.SeverityHigh {
			continue
		}
		stolen++
		if f.Code != "D06" || f.Session != session || f.Calls != 11 || len(f.Evidence.Calls) != 11 {
			t.Errorf("%s of %q with %d calls: %s", f.Code, f.Session, f.Calls, f.Title)
		}
		for _, c := range f.Evidence.Calls {
			if c.Credential.Session != session || c.ClientAddress.String() != "1.2.3.4" {
				t.Errorf("the evidence holds a call of session %q from %s", c.Credential.Session, c.ClientAddress)
			}
		}
		// The key was issued to the instance, as the same log shows.
		if len(f.Evidence.Path) != 2 {
			t.Errorf("path %q, want the issue of the key and its use", f.Evidence.Path)
		}
	}
	if stolen != 1 || len(calls) != 103 {
		t.Errorf("%d findings of a stolen session in %d calls, want 1 in 103", stolen, len(calls))
	}
}

// TestCorpusBenignClouds: real logs in which nobody did any harm give no high
// finding.
func TestCorpusBenignClouds(t *testing.T) {
	p := onCorpus(t)
	for _, name := range []string{
		"cloudtrail/opensearch-catalog-cloudtrail.ndjson.gz", "cloudtrail/awsdocs-examples.ndjson", "cloudtrail/otel-envelope.json",
		"cloudtrail/plaso-lookup-events.jsonl", "access-logs/gcp-audit",
	} {
		report, _, _ := p.scan(p.at(name))
		for _, f := range report.Findings {
			if f.Severity >= schema.SeverityHigh {
				t.Errorf("%s: %s %s %s: %q", name, f.Code, f.Severity, f.Title, f.Reasons)
			}
		}
	}
}
