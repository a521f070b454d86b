// Package kafka is everything that knows Kafka: who connects and how, the
// topics, what is produced, and who reads which partition.
//
// Collectors hand their calls to a [Producer]; ingesters read them in the
// [Lane]s that a [Group] gives them, and hand what cannot be read to
// [DeadLetters]; detectors hand findings to [Findings]. [EnsureTopics] makes the
// topics, [CheckTopics] looks whether they are as they should be. A [Config] says
// where the brokers are; [Config.Check] tries it.
//
// It promises that what [Producer.Put] returned without an error for is stored
// by every in-sync replica, or said to be lost in the account that follows; that
// a lane commits only what it owns and is told when it no longer does; that
// memory is bounded; and that an error is a sentence with a remedy.
//
// A copy of a call can be written twice, when the answer to a write is lost:
// copies have the same epoch and sequence, and the ingester drops them. It cannot
// see whether the cluster's replication keeps what it acknowledged: with one
// replica, a lost disk is a lost call.
package kafka
