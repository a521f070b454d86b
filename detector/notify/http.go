package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Headers of what a webhook is sent.
const (
	// TimestampHeader is the time of sending in seconds, as signed.
	TimestampHeader = "Scopedrift-Timestamp"
	// SignatureHeader is "v1=" and the HMAC-SHA-256, in hexadecimal, of the
	// timestamp, a full stop and the body.
	SignatureHeader = "Scopedrift-Signature"
)

// Webhook posts findings as {"findings": [...]}.
type Webhook struct {
	url    *url.URL
	secret []byte
	client *http.Client
}

var errURL = errors.New("it should be a URL such as https://hooks.example.com/scopedrift")

// NewWebhook returns the receiver at an address. With a secret, what is sent is
// signed by it.
func NewWebhook(address string, secret []byte) (*Webhook, error) {
	u, err := parse(address)
	if err != nil {
		return nil, err
	}
	return &Webhook{u, secret, &http.Client{Timeout: 30 * time.Second, CheckRedirect: stay}}, nil
}

// parse refuses what is no HTTP address. The text itself may hold a password, so
// that no error repeats it.
func parse(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errURL
	}
	return u, nil
}

// stay does not follow: what was signed for one place is not for another.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Name is the address without what may be secret in it: many webhooks have a
// token in their path.
func (w *Webhook) Name() string {
	return "webhook " + w.url.Scheme + "://" + w.url.Host + "#" + digest(w.url)
}

func digest(u *url.URL) string {
	sum := sha256.Sum256([]byte(u.String()))
	return hex.EncodeToString(sum[:4])
}

// Receive posts findings.
func (w *Webhook) Receive(ctx context.Context, findings []schema.Finding) error {
	body, err := json.Marshal(map[string]any{"findings": findings})
	if err != nil {
		return err
	}
	header := http.Header{}
	if len(w.secret) > 0 {
		at := strconv.FormatInt(time.Now().Unix(), 10)
		header.Set(TimestampHeader, at)
		header.Set(SignatureHeader, Sign(w.secret, at, body))
	}
	return post(ctx, w.client, w.url, header, body)
}

// Sign returns the signature of a body sent at a time.
func Sign(secret []byte, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(timestamp))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}

// post wants an answer of success. No error names more of the address than its
// host.
func post(ctx context.Context, client *http.Client, to *url.URL, header http.Header, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return errURL
	}
	request.Header = header
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "scopedrift")
	response, err := client.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return fmt.Errorf("%s: %w", to.Host, err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16)) // so that the connection is used again
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s answered %s", to.Host, response.Status)
	}
	return nil
}

// Alertmanager posts findings to the API of a Prometheus Alertmanager, version 2.
type Alertmanager struct {
	url    *url.URL
	client *http.Client
}

// AlertmanagerRefresh is how often an Alertmanager has to be told of what is still
// open, and AlertmanagerEnd how long it remembers without that.
const (
	AlertmanagerRefresh = 5 * time.Minute
	AlertmanagerEnd     = 4 * AlertmanagerRefresh
)

// NewAlertmanager returns the receiver at the address of an Alertmanager, without
// the path of its API.
func NewAlertmanager(address string) (*Alertmanager, error) {
	u, err := parse(address)
	if err != nil {
		return nil, err
	}
	return &Alertmanager{u.JoinPath("/api/v2/alerts"), &http.Client{Timeout: 30 * time.Second, CheckRedirect: stay}}, nil
}

// Name is the address without what may be secret in it.
func (a *Alertmanager) Name() string {
	return "alertmanager " + a.url.Scheme + "://" + a.url.Host + "#" + digest(a.url)
}

// posted is the form of https://github.com/prometheus/alertmanager, api/v2/openapi.yaml.
type posted struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt,omitzero"`
	EndsAt      time.Time         `json:"endsAt"`
}

// Receive posts findings. What is resolved or suppressed ends.
func (a *Alertmanager) Receive(ctx context.Context, findings []schema.Finding) error {
	now := time.Now().UTC()
	list := make([]posted, len(findings))
	for i := range findings {
		f := &findings[i]
		one := posted{Labels: map[string]string{}, Annotations: map[string]string{}, StartsAt: f.First, EndsAt: now.Add(AlertmanagerEnd)}
		if f.Status != schema.StatusOpen {
			one.EndsAt = now
		}
		for _, label := range [][2]string{
			{"alertname", f.Detection}, {"code", f.Code}, {"severity", f.Severity.String()}, {"finding", string(f.ID)},
			{"credential", f.Credential.ID}, {"owner", f.Credential.Owner}, {"service", f.Service}, {"operation", f.Operation},
			{"scope", f.Scope}, {"tenant", f.Tenant}, {"environment", f.Environment},
		} {
			if label[1] != "" {
				one.Labels[label[0]] = label[1]
			}
		}
		one.Annotations["summary"] = f.Title
		one.Annotations["description"] = strings.Join(f.Reasons, "\n")
		list[i] = one
	}
	body, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return post(ctx, a.client, a.url, http.Header{}, body)
}
