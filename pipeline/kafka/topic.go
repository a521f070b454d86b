package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

// The names of the topics. The version of what they hold is part of the name.
const (
	CallsTopic       = Prefix + ".calls.v1"
	DeadLettersTopic = Prefix + ".calls.dlq.v1"
	FindingsTopic    = Prefix + ".findings.v1"
	// Prefix is what they begin with, unless a cluster has several installations
	// or a custom of its own.
	Prefix = "scopedrift"
)

// Names are the topics of one installation.
type Names struct{ Calls, DeadLetters, Findings string }

// NamesOf returns the names that begin with a prefix, [Prefix] if it is empty.
func NamesOf(prefix string) Names {
	if prefix == "" {
		prefix = Prefix
	}
	return Names{
		Calls:       prefix + strings.TrimPrefix(CallsTopic, Prefix),
		DeadLetters: prefix + strings.TrimPrefix(DeadLettersTopic, Prefix),
		Findings:    prefix + strings.TrimPrefix(FindingsTopic, Prefix),
	}
}

// Topic is a topic as it has to be.
type Topic struct {
	Name string
	// Partitions is how many it is made with; an existing topic may have more.
	Partitions int
	// Replicas is how many brokers keep it, 0 for the cluster's default.
	Replicas int
	// Retention is the least time for which its messages stay.
	Retention time.Duration
	// Compacted says that the last message of each key may suffice. Topics here
	// never are: compaction takes messages out of a planned range.
	Compacted bool
}

// Retention is how long calls stay readable: how long ingesters may be away.
const Retention = 7 * 24 * time.Hour

// Topics lists the topics of an installation. Calls get that many partitions, which
// is how many ingesters can share the work; the others are small and get one
// partition, and three.
func Topics(names Names, partitions, replicas int) []Topic {
	return []Topic{
		{Name: names.Calls, Partitions: partitions, Replicas: replicas, Retention: Retention},
		{Name: names.DeadLetters, Partitions: 1, Replicas: replicas, Retention: 2 * Retention},
		{Name: names.Findings, Partitions: 3, Replicas: replicas, Retention: 2 * Retention},
	}
}

// State is what became of a topic.
type State struct {
	Topic Topic
	// Made says that it was not there before.
	Made bool
	// Partitions is how many it has.
	Partitions int
	// Problem is how it differs from what it has to be, nil if it does not.
	Problem error
	// Unseen says that its settings were not looked at, for lack of the right.
	Unseen bool
}

// EnsureTopics makes the topics that are missing and checks the others. It never
// changes one: what a topic should have instead is for its owner to decide.
func EnsureTopics(ctx context.Context, cfg Config, topics []Topic) ([]State, error) {
	l, err := cfg.open()
	if err != nil {
		return nil, err
	}
	defer l.close()
	if err := l.probe(ctx); err != nil {
		return nil, err
	}
	made, err := l.create(ctx, topics)
	if err != nil {
		return nil, err
	}
	states, err := l.inspect(ctx, topics)
	for i := range states {
		states[i].Made = made[states[i].Topic.Name]
	}
	return states, err
}

// CheckTopics looks whether the topics are there and as they have to be.
func CheckTopics(ctx context.Context, cfg Config, topics []Topic) ([]State, error) {
	l, err := cfg.open()
	if err != nil {
		return nil, err
	}
	defer l.close()
	if err := l.probe(ctx); err != nil {
		return nil, err
	}
	return l.inspect(ctx, topics)
}

func (l *link) create(ctx context.Context, topics []Topic) (map[string]bool, error) {
	request := &kafka.CreateTopicsRequest{}
	for _, t := range topics {
		policy := "delete"
		if t.Compacted {
			policy = "compact"
		}
		replicas := t.Replicas
		if replicas == 0 {
			replicas = -1
		}
		request.Topics = append(request.Topics, kafka.TopicConfig{
			Topic: t.Name, NumPartitions: t.Partitions, ReplicationFactor: replicas,
			ConfigEntries: []kafka.ConfigEntry{
				{ConfigName: "cleanup.policy", ConfigValue: policy},
				{ConfigName: "retention.ms", ConfigValue: strconv.FormatInt(t.Retention.Milliseconds(), 10)},
			},
		})
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	made := map[string]bool{}
	response, err := l.client.CreateTopics(ctx, request)
	if err != nil {
		return nil, explain(err, l.deed("make topics", ""))
	}
	for _, name := range slices.Sorted(maps.Keys(response.Errors)) {
		err := response.Errors[name]
		var code kafka.Error
		switch {
		case err == nil:
			made[name] = true
		case errors.Is(err, kafka.TopicAlreadyExists):
		case errors.Is(err, kafka.InvalidReplicationFactor):
			return nil, &Error{Kind: WrongTopic, Err: err,
				Text:   fmt.Sprintf("cannot make topic %s: the cluster has fewer brokers than the replicas asked for", name),
				Remedy: "ask for fewer with --replicas, or add brokers"}
		case errors.As(err, &code) && code == kafka.TopicAuthorizationFailed:
			// A collector's or ingester's user rarely may make topics; that is no
			// problem where somebody else has.
		default:
			return nil, explain(err, l.deed("make topic", name))
		}
	}
	return made, nil
}

func (l *link) inspect(ctx context.Context, topics []Topic) ([]State, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	states := make([]State, 0, len(topics))
	for _, t := range topics {
		s := State{Topic: t}
		partitions, err := l.partitions(ctx, t.Name)
		switch {
		case err != nil && ctx.Err() != nil:
			return states, explain(err, l.deed("look at topic", t.Name))
		case err != nil:
			s.Problem = err
		default:
			s.Partitions = len(partitions)
			s.Problem = l.compare(ctx, t, len(partitions))
			// A collector's user need not read settings.
			if e := new(Error); errors.As(s.Problem, &e) && e.Kind == NoRights {
				s.Problem, s.Unseen = nil, true
			}
		}
		states = append(states, s)
	}
	return states, nil
}

// compare says how an existing topic differs from what it has to be.
func (l *link) compare(ctx context.Context, t Topic, partitions int) error {
	var wrong []string
	if partitions < t.Partitions {
		wrong = append(wrong, fmt.Sprintf("it has %d of %d partitions", partitions, t.Partitions))
	}
	response, err := l.client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: t.Name, ConfigNames: []string{"cleanup.policy", "retention.ms"},
	}}})
	if err != nil {
		return explain(err, l.deed("read the settings of topic", t.Name))
	}
	for _, resource := range response.Resources {
		if resource.Error != nil {
			return explain(resource.Error, l.deed("read the settings of topic", t.Name))
		}
		for _, entry := range resource.ConfigEntries {
			switch entry.ConfigName {
			case "cleanup.policy":
				if !t.Compacted && strings.Contains(entry.ConfigValue, "compact") {
					wrong = append(wrong, "its cleanup.policy is "+entry.ConfigValue+" instead of delete, so that calls are taken out of the middle")
				}
			case "retention.ms":
				ms, err := strconv.ParseInt(entry.ConfigValue, 10, 64)
				if err == nil && ms >= 0 && ms < t.Retention.Milliseconds() {
					wrong = append(wrong, fmt.Sprintf("its retention.ms is %d (%s) instead of at least %d, so that an ingester that is away longer loses calls",
						ms, time.Duration(ms)*time.Millisecond, t.Retention.Milliseconds()))
				}
			}
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return &Error{Kind: WrongTopic,
		Text: fmt.Sprintf("topic %s is not as it should be: %s", t.Name, strings.Join(wrong, "; ")),
		Remedy: fmt.Sprintf("change it with: kafka-configs.sh --alter --topic %s --add-config cleanup.policy=delete,retention.ms=%d (partitions: kafka-topics.sh --alter --topic %s --partitions %d)",
			t.Name, t.Retention.Milliseconds(), t.Name, t.Partitions)}
}

// partitions returns a topic's partitions and their leaders, by number.
func (l *link) partitions(outer context.Context, topic string) ([]kafka.Partition, error) {
	ctx, cancel := context.WithTimeout(outer, dialTimeout)
	defer cancel()
	what := l.deed("find topic", topic)
	response, err := l.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		// The pool of connections says little of why it has none.
		if reason := l.probe(outer); reason != nil && outer.Err() == nil {
			return nil, reason
		}
		return nil, explain(err, what)
	}
	for _, t := range response.Topics {
		if t.Name != topic {
			continue
		}
		if t.Error != nil {
			return nil, explain(t.Error, what)
		}
		slices.SortFunc(t.Partitions, func(a, b kafka.Partition) int { return a.ID - b.ID })
		for i, p := range t.Partitions {
			if p.ID != i {
				return nil, explain(kafka.LeaderNotAvailable, what)
			}
			// Absent in what the broker tells of a partition.
			t.Partitions[i].Topic = topic
		}
		if len(t.Partitions) > 0 {
			return t.Partitions, nil
		}
	}
	return nil, explain(kafka.UnknownTopicOrPartition, what)
}

// first is partitions for who begins: a connection of its own tells at once what
// is wrong, where the pool takes its time.
func (l *link) first(ctx context.Context, topic string) ([]kafka.Partition, error) {
	if err := l.probe(ctx); err != nil {
		return nil, err
	}
	return l.partitions(ctx, topic)
}
