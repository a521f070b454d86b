-- What continuous detection keeps.

-- Of which credentials calls were stored, and when: what a pass judges anew. The
-- time is the server's, as the block came in.
CREATE TABLE IF NOT EXISTS touched (
    stored     DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    credential FixedString(16) CODEC(ZSTD(1))
) ENGINE = MergeTree
PARTITION BY toYYYYMMDD(stored)
ORDER BY (stored, credential)
TTL toDateTime(stored) + INTERVAL 7 DAY
SETTINGS non_replicated_deduplication_window = 20000, ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS touched_feed TO touched AS
SELECT now64(6, 'UTC') AS stored, credential
FROM calls
GROUP BY credential;

-- Who detects on a shard: the holder of the highest term, until its time. Terms
-- are taken by a deduplication token, so that each has one holder; a term that
-- were forgotten could not be taken again, so none is.
CREATE TABLE IF NOT EXISTS leases (
    shard   String,
    term    UInt64,
    holder  String,
    until   DateTime64(6, 'UTC'),
    written DateTime64(6, 'UTC')
) ENGINE = MergeTree
ORDER BY (shard, term)
SETTINGS non_replicated_deduplication_window = 20000;

-- Findings that somebody decided not to hear of, until a time.
CREATE TABLE IF NOT EXISTS suppressions (
    id      String,
    reason  String,
    until   DateTime64(6, 'UTC'),
    written DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(written)
ORDER BY id;

-- Up to which change of findings each receiver was told.
CREATE TABLE IF NOT EXISTS deliveries (
    receiver String,
    upto     DateTime64(6, 'UTC'),
    written  DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(written)
ORDER BY receiver;
