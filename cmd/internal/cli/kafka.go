package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
)

// kafkaPasswordVariable may hold the password of --kafka-user.
const kafkaPasswordVariable = "SCOPEDRIFT_KAFKA_PASSWORD"

// kafkaSettings say where Kafka is and how to come in.
type kafkaSettings struct {
	brokers      list
	prefix       string
	tls          bool
	ca           string
	certificate  string
	key          string
	serverName   string
	mechanism    word
	user         string
	passwordFile string
}

func newKafkaSettings() kafkaSettings {
	return kafkaSettings{prefix: kafka.Prefix, mechanism: word{kafka.ScramSHA512, kafka.Mechanisms()}}
}

// kafkaFlags are the settings that choose a Kafka cluster.
var kafkaFlags = []string{"kafka", "kafka-prefix", "kafka-tls", "kafka-tls-ca", "kafka-tls-cert", "kafka-tls-key", "kafka-tls-name",
	"kafka-sasl", "kafka-user", "kafka-password-file"}

var kafkaRegister = []setting{
	{name: "kafka", usage: "Kafka brokers to begin with, as HOST:PORT,HOST:PORT",
		value: func(s *settings) pflag.Value { return &s.kafka.brokers }},
	{name: "kafka-prefix", usage: "what the topics' names begin with",
		value: func(s *settings) pflag.Value { return (*text)(&s.kafka.prefix) }},
	{name: "kafka-tls", usage: "speak TLS with Kafka; any other kafka-tls setting implies it",
		value: func(s *settings) pflag.Value { return (*truth)(&s.kafka.tls) }},
	{name: "kafka-tls-ca", path: true, usage: "file with the authorities that sign the brokers' certificates; else the system's",
		value: func(s *settings) pflag.Value { return pathText{(*text)(&s.kafka.ca)} }},
	{name: "kafka-tls-cert", path: true, usage: "file with this side's certificate, where the brokers want one",
		value: func(s *settings) pflag.Value { return pathText{(*text)(&s.kafka.certificate)} }},
	{name: "kafka-tls-key", path: true, usage: "file with that certificate's key",
		value: func(s *settings) pflag.Value { return pathText{(*text)(&s.kafka.key)} }},
	{name: "kafka-tls-name", usage: "name that the brokers' certificates are for, if not the host in --kafka",
		value: func(s *settings) pflag.Value { return (*text)(&s.kafka.serverName) }},
	{name: "kafka-sasl", usage: "how the user proves itself: " + strings.Join(kafka.Mechanisms(), ", "),
		value: func(s *settings) pflag.Value { return &s.kafka.mechanism }},
	{name: "kafka-user", usage: "user for SASL; the password comes from a file or " + kafkaPasswordVariable,
		value: func(s *settings) pflag.Value { return (*text)(&s.kafka.user) }},
	{name: "kafka-password-file", path: true, usage: "file with the user's password",
		value: func(s *settings) pflag.Value { return pathText{(*text)(&s.kafka.passwordFile)} }},
}

// given says whether a Kafka cluster is named.
func (s *kafkaSettings) given() bool { return len(s.addresses()) > 0 }

func (s *kafkaSettings) addresses() []string {
	var all []string
	for _, value := range s.brokers.values {
		for _, address := range strings.Split(value, ",") {
			if address = strings.TrimSpace(address); address != "" {
				all = append(all, address)
			}
		}
	}
	return all
}

// kafkaConfig returns what the settings say of Kafka. It dials nothing.
func (a *app) kafkaConfig() (kafka.Config, error) {
	s := &a.settings.kafka
	cfg := kafka.Config{Brokers: s.addresses(), ClientID: "scopedrift"}
	if len(cfg.Brokers) == 0 {
		return cfg, usage("no Kafka broker is named", "pass --kafka HOST:PORT, or set SCOPEDRIFT_KAFKA")
	}
	if s.tls || s.ca != "" || s.certificate != "" || s.key != "" || s.serverName != "" {
		cfg.TLS = &kafka.TLS{ServerName: s.serverName}
		for _, file := range []struct {
			to   *string
			from string
		}{{&cfg.TLS.CA, s.ca}, {&cfg.TLS.Certificate, s.certificate}, {&cfg.TLS.Key, s.key}} {
			if file.from != "" {
				*file.to = a.env.Path(file.from)
			}
		}
	}
	password := a.env.Getenv(kafkaPasswordVariable)
	switch {
	case s.user != "":
		cfg.SASL = &kafka.SASL{Mechanism: s.mechanism.value, User: s.user}
		// A file that is named goes before a variable that happens to be set.
		if s.passwordFile != "" {
			cfg.SASL.PasswordFile = a.env.Path(s.passwordFile)
		} else {
			cfg.SASL.Password = kafka.Secret(password)
		}
	case s.passwordFile != "":
		return cfg, usage("a password for Kafka is given, and no user", "pass --kafka-user NAME")
	}
	return cfg, nil
}

// kafkaNames returns the topics' names.
func (a *app) kafkaNames() kafka.Names { return kafka.NamesOf(a.settings.kafka.prefix) }

// The numbers of the calls topic, where the user gives none.
const (
	defaultPartitions = 12
	mostPartitions    = 10_000
)

func (a *app) topicsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "topics", Short: "make the Kafka topics, and check those that are there", Args: cobra.NoArgs,
		Long: `Makes the topics that are missing: calls (kept for 7 days, so long may the
ingesters be away), calls that could not be read, and findings. Topics that are
there already are checked and never changed. As many ingesters as there are
partitions can share the work; to add partitions later moves credentials.`,
		Example: "  scopedrift schema topics --kafka kafka-1:9092,kafka-2:9092 --partitions 24 --replicas 3",
	}
	a.settings.bind(c.Flags(), kafkaFlags...)
	partitions := c.Flags().Int("partitions", defaultPartitions, "partitions of the calls topic")
	replicas := c.Flags().Int("replicas", 0, "brokers that keep each message; 0 leaves it to the cluster")
	c.RunE = a.action(func(ctx context.Context, _ []string) error {
		if *partitions < 1 || *partitions > mostPartitions {
			return usage(fmt.Sprintf("%d is no number of partitions", *partitions), fmt.Sprintf("give 1 to %d", mostPartitions))
		}
		if *replicas < 0 || *replicas > 1000 {
			return usage(fmt.Sprintf("%d is no number of replicas", *replicas), "give as many as the cluster has brokers, or fewer")
		}
		cfg, err := a.kafkaConfig()
		if err != nil {
			return err
		}
		states, err := kafka.EnsureTopics(ctx, cfg, kafka.Topics(a.kafkaNames(), *partitions, *replicas))
		if err != nil {
			return err
		}
		return a.tellTopics(states)
	})
	return c
}

// tellTopics says how each topic is; the error joins what is wrong.
func (a *app) tellTopics(states []kafka.State) error {
	var wrong []error
	for _, s := range states {
		switch {
		case s.Problem != nil:
			wrong = append(wrong, s.Problem)
		case s.Made:
			a.tick("made topic %s with %s", s.Topic.Name, output.Count(uint64(s.Partitions), "partition"))
		default:
			a.tick("topic %s has %s", s.Topic.Name, output.Count(uint64(s.Partitions), "partition"))
		}
		if s.Unseen {
			a.say("note  the settings of topic %s were not looked at: this user has no right to (DescribeConfigs)", s.Topic.Name)
		}
	}
	return errors.Join(wrong...)
}

func (a *app) connectionsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "connections", Short: "connect to Kafka and ClickHouse and say what is wrong", Args: cobra.NoArgs,
		Long: `Connects to what the settings name, as the other commands would: to Kafka, where
it looks at the topics, too, and to the store. It changes nothing.`,
		Example: "  scopedrift check connections --kafka kafka-1:9092 --clickhouse clickhouse://db.example.com:9000/scopedrift",
	}
	a.settings.bind(c.Flags(), kafkaFlags...)
	a.settings.bind(c.Flags(), "clickhouse", "clickhouse-password-file")
	c.RunE = a.action(func(ctx context.Context, _ []string) error {
		server := a.settings.clickhouse.value != ""
		if !a.settings.kafka.given() && !server {
			return usage("nothing to connect to is named", "pass --kafka HOST:PORT, --clickhouse URL, or both")
		}
		var wrong []error
		if a.settings.kafka.given() {
			wrong = append(wrong, a.checkKafka(ctx))
		}
		if server {
			wrong = append(wrong, a.checkClickHouse(ctx))
		}
		return errors.Join(wrong...)
	})
	return c
}

func (a *app) checkKafka(ctx context.Context) error {
	cfg, err := a.kafkaConfig()
	if err != nil {
		return err
	}
	if err := cfg.Check(ctx); err != nil {
		return err
	}
	a.tick("Kafka answers at %s", strings.Join(cfg.Brokers, ", "))
	if cfg.SASL != nil && cfg.SASL.Mechanism == kafka.Plain && cfg.TLS == nil {
		a.say("note  the password goes over the network in clear text: give --kafka-tls, or use a scram mechanism")
	}
	states, err := kafka.CheckTopics(ctx, cfg, kafka.Topics(a.kafkaNames(), 1, 0))
	return errors.Join(a.tellTopics(states), err)
}

func (a *app) checkClickHouse(ctx context.Context) error {
	conn, err := clickhouse.Open(ctx, clickhouse.Target{
		URL: a.settings.clickhouse.value, Password: a.env.Getenv(passwordVariable), PasswordFile: a.env.Path(a.settings.password),
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	server, err := conn.ServerVersion()
	if err != nil {
		return err
	}
	a.tick("ClickHouse %s answers", server.Version)
	return nil
}
