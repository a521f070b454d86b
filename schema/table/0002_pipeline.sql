-- What the Kafka pipeline keeps beside the calls: one row for each range of a
-- partition, written before (planned) and after (confirmed) its calls are
-- inserted. A range is stored once, however often it is read; the confirmed
-- ranges of a partition follow each other without a hole. Of its messages "calls"
-- were stored, "accounts" went to the ledger, "repeated" held an id or number
-- that had come before, "dead" could not be read, by reason, and "lost" were gone
-- from Kafka before they were read. "missing" is how many numbers producers left
-- out, "producers" the last number of each. What is lost or missing was called
-- between lost_from and lost_to.
CREATE TABLE IF NOT EXISTS ranges (
    topic        LowCardinality(String),
    partition    UInt32,
    first_offset Int64,
    next_offset  Int64,
    plan         String,
    calls        UInt64,
    accounts     UInt64,
    repeated     UInt64,
    lost         UInt64,
    missing      UInt64,
    dead         Map(LowCardinality(String), UInt64),
    producers    Map(UInt64, UInt64),
    first_time   DateTime64(6, 'UTC'),
    last_time    DateTime64(6, 'UTC'),
    lost_from    DateTime64(6, 'UTC'),
    lost_to      DateTime64(6, 'UTC'),
    state        Enum8('planned' = 1, 'confirmed' = 2),
    written      DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(written)
ORDER BY (topic, partition, first_offset, next_offset, plan, state);

-- A followed input has no end: it is not one that was not read to its end.
ALTER TABLE ledger ADD COLUMN IF NOT EXISTS followed UInt8;
