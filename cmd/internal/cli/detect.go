package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/operate"
	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/notify"
	"github.com/scopedrift/scopedrift/detector/tick"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
)

const detectLong = `Judges what is stored while calls come in: as often as --every the credentials of
which calls are new (of many, some at a time: those that did something new first),
and every --posture all of them, since what is unused depends on the days. A finding opens, changes, is resolved, and reopens if it returns;
each change is written as a JSON line, and told to --webhook, --alertmanager and,
with --kafka, the findings topic. What cannot be told waits in the store.

Several detectors may run on one store: one works, the others stand by and take
over when it is gone, after --lease at the latest. With --shard I/N they divide
the work: each credential is judged by the detectors of one shard. N is the same
for all of them; budgets of scores are of all shards together. With --once everything is judged once, which is what a
scan of the same calls would say.

A webhook is posted {"findings": [...]}. With --webhook-secret-file the header
` + notify.SignatureHeader + ` is "v1=" and the HMAC-SHA-256, in hexadecimal, of
` + notify.TimestampHeader + `, a full stop and the body.`

// Bounds of --lease: a short one is lost to a busy store, and a long one is how
// long nobody watches.
const shortestLease, longestLease = 2 * time.Second, 10 * time.Minute

// detecting is what the flags say.
type detecting struct {
	every, posture time.Duration
	once           bool
	webhook        string
	secretFile     string
	alertmanager   string
	share          string
	division
}

func (a *app) detectCommand() *cobra.Command {
	o := detecting{every: time.Second, posture: time.Hour, division: division{lease: tick.LeaseTime}}
	c := &cobra.Command{
		Use: "detect", Short: "judge what ingesters store, continuously", Long: detectLong, Args: cobra.NoArgs,
		Example: "  scopedrift detect --clickhouse clickhouse://db.example.com:9000/scopedrift --catalog catalogue/ --alertmanager http://127.0.0.1:9093\n" +
			"  scopedrift detect --data store/ --catalog catalogue/ --once",
	}
	flags := c.Flags()
	flags.DurationVar(&o.every, "every", o.every, "how often what changed is judged")
	flags.DurationVar(&o.posture, "posture", o.posture, "how often everything is judged")
	flags.BoolVar(&o.once, "once", false, "judge everything once and end")
	flags.StringVar(&o.share, "shard", "", "judge share I of N of the credentials, as I/N")
	flags.DurationVar(&o.lease, "lease", o.lease, "how long a detector that died keeps its shard")
	flags.StringVar(&o.webhook, "webhook", "", "address that findings are posted to")
	flags.StringVar(&o.secretFile, "webhook-secret-file", "", "file with the secret that what is posted is signed with")
	flags.StringVar(&o.alertmanager, "alertmanager", "", "address of a Prometheus Alertmanager")
	a.settings.bind(flags, append([]string{"catalog", "metrics-listen"}, storeFlags...)...)
	a.settings.bind(flags, kafkaFlags...)
	c.RunE = a.action(func(ctx context.Context, _ []string) error {
		switch {
		case o.every < 100*time.Millisecond:
			return usage("--every is shorter than 100ms", "1s is usual")
		case o.posture < o.every:
			return usage("--posture is shorter than --every", "1h is usual")
		case o.lease < shortestLease || o.lease > longestLease:
			return usage(fmt.Sprintf("--lease is %s, and has to be from %s to %s", o.lease, shortestLease, longestLease), "30s is usual")
		case o.secretFile != "" && o.webhook == "":
			return usage("--webhook-secret-file is given without --webhook", "pass --webhook URL")
		}
		if o.share != "" {
			shard, err := detector.ParseShard(o.share)
			if err != nil {
				return usage("--shard: " + err.Error())
			}
			o.shard = shard
		}
		return a.detect(ctx, o)
	})
	return c
}

// detect judges until ctx ends, or once.
func (a *app) detect(ctx context.Context, o detecting) (err error) {
	if a.settings.data == "" && a.settings.clickhouse.value == "" {
		return usage("detect needs the store that ingesters write", "pass --clickhouse URL, or --data DIR")
	}
	st, err := a.openStation(ctx, "detect", nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	live, s, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	st.server.Alive("engine", s.dead)
	j := newJudge(a, st, s, o.posture, o.division)
	if err := a.receivers(j, o); err != nil {
		return err
	}
	topic, err := a.findingsTopic(st)
	if err != nil {
		return err
	}
	j.observe(st.server)
	late, cancel := operate.Drain(ctx)
	defer cancel()
	defer context.AfterFunc(live, func() { cancel() })()
	go j.table.Keep(late)
	told := make(chan error, 1)
	if topic == nil {
		told <- nil
	} else {
		j.tellTo(*topic, 0)
		go func() { told <- topic.to.Run(late) }()
	}
	if o.once {
		err = j.await(ctx)
	} else {
		reading, stop := context.WithCancel(late)
		defer context.AfterFunc(ctx, stop)()
		err = j.run(reading, o.every)
		stop()
	}
	if err == nil && s.dead() == nil {
		err = a.lastOf(late, j)
	}
	cancel()
	if err = errors.Join(err, <-told); err != nil {
		return s.why(live, err)
	}
	return s.dead()
}

// lastOf judges everything as of one moment, where this detector has the lead.
func (a *app) lastOf(ctx context.Context, j *judge) error {
	err := j.last(ctx)
	if errors.Is(err, tick.ErrLost) {
		return nil
	}
	return err
}

// receivers makes those that the flags name.
func (a *app) receivers(j *judge, o detecting) error {
	if o.webhook != "" {
		var secret []byte
		if o.secretFile != "" {
			text, err := a.env.ReadFile(o.secretFile, 1<<16)
			if err != nil {
				return misused(err)
			}
			if secret = bytes.TrimSpace(text); len(secret) == 0 {
				return usage(fmt.Sprintf("%s, the file of --webhook-secret-file, is empty", o.secretFile), "write the secret into it")
			}
		}
		hook, err := notify.NewWebhook(o.webhook, secret)
		if err != nil {
			return usage("--webhook: " + err.Error())
		}
		j.tellTo(hook, 0)
	}
	if o.alertmanager != "" {
		manager, err := notify.NewAlertmanager(o.alertmanager)
		if err != nil {
			return usage("--alertmanager: " + err.Error())
		}
		j.tellTo(manager, notify.AlertmanagerRefresh)
	}
	return nil
}

// findingsTopic is the topic to tell, nil without --kafka.
func (a *app) findingsTopic(st *station) (*findingsTopic, error) {
	if len(a.settings.kafka.addresses()) == 0 {
		return nil, nil
	}
	brokers, err := a.kafkaConfig()
	if err != nil {
		return nil, err
	}
	name := a.kafkaNames().Findings
	to, err := kafka.NewFindings(brokers, name, healing(st.log))
	if err != nil {
		return nil, misused(err)
	}
	return &findingsTopic{to, name}, nil
}
