// Package pipeline stores what collectors wrote to Kafka: it reads partitions,
// names services and operations by the catalogue, and inserts into ClickHouse.
//
// The one thing to want is [New]: [Ingester.Handle] is what a consumer group is
// given to do for each of its partitions.
//
// It promises that every message of a partition is stored once, put aside as a
// dead letter, or counted as lost, whatever dies at whatever moment. Each batch
// goes plan, insert, confirm: the range of offsets is committed to Kafka as a
// plan, beside the old offset; it is inserted as one block with the plan's token;
// then its end is committed. Who takes over a partition finds the plan and
// repeats exactly its range with its token, and ClickHouse drops what it has of
// it, calls and rollups alike. A plan is committed in the name of the group's
// generation, so that whoever no longer owns a partition cannot begin anything
// there.
//
// Copies are known in three ways: by the producer's numbers, by the ids of calls
// within a bounded memory, and in the store by the token. What slips through
// repeats an id. It cannot see whether a producer told the truth, nor repeats
// older than its memory.
//
// It rests on ClickHouse to know a token's rows. A table that is not replicated
// notes the token a moment before the rows are there: a server that is killed just
// then knows a token without rows, and what is repeated with it is lost. The
// embedded engine mends that when it starts; a server of one's own has to replicate
// its tables, as a cluster does.
package pipeline
