-- From where credentials are used, and what with: by day, so that asking about
-- a credential costs what it did and not how often.
-- Accepted calls (allowed, no effect, denied) by where they came from. The key is
-- that of a role's session: other kinds change it with every token. The slots are
-- the spans of five minutes of the day with calls, as bits, the first 64 of them
-- in slots0.
CREATE TABLE IF NOT EXISTS places (
    credential     FixedString(16),
    session        String CODEC(ZSTD(1)),
    key            String CODEC(ZSTD(1)),
    workload       LowCardinality(String),
    client_address IPv6 CODEC(ZSTD(1)),
    user_agent     LowCardinality(String),
    source_type    LowCardinality(String),
    reporter       UInt8,
    day            Date CODEC(Delta, ZSTD(1)),
    first          SimpleAggregateFunction(min, DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1)),
    last           SimpleAggregateFunction(max, DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1)),
    calls          SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
    slots0         SimpleAggregateFunction(groupBitOr, UInt64) CODEC(ZSTD(1)),
    slots1         SimpleAggregateFunction(groupBitOr, UInt64) CODEC(ZSTD(1)),
    slots2         SimpleAggregateFunction(groupBitOr, UInt64) CODEC(ZSTD(1)),
    slots3         SimpleAggregateFunction(groupBitOr, UInt64) CODEC(ZSTD(1)),
    slots4         SimpleAggregateFunction(groupBitOr, UInt64) CODEC(ZSTD(1))
) ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(day)
PRIMARY KEY credential
ORDER BY (credential, session, key, workload, client_address, user_agent, source_type, reporter, day)
SETTINGS non_replicated_deduplication_window = 20000, index_granularity = 512;

-- The names of the query parameters that accepted calls had in their addresses, of
-- certain pairs of request and answer, in lower case.
CREATE TABLE IF NOT EXISTS parameters (
    credential FixedString(16),
    service    LowCardinality(String),
    parameter  LowCardinality(String),
    day        Date CODEC(Delta, ZSTD(1)),
    first      SimpleAggregateFunction(min, DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1)),
    last       SimpleAggregateFunction(max, DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1))
) ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(day)
PRIMARY KEY credential
ORDER BY (credential, service, parameter, day)
SETTINGS non_replicated_deduplication_window = 20000, index_granularity = 512;

-- The single keys and tokens that accepted calls bore.
CREATE TABLE IF NOT EXISTS instances (
    credential          FixedString(16),
    credential_instance String CODEC(ZSTD(1)),
    presented           FixedString(8),
    certain             UInt8,
    day                 Date CODEC(Delta, ZSTD(1)),
    first               SimpleAggregateFunction(min, DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1)),
    last                SimpleAggregateFunction(max, DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1))
) ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(day)
PRIMARY KEY credential
ORDER BY (credential, credential_instance, presented, certain, day)
SETTINGS non_replicated_deduplication_window = 20000, index_granularity = 512;

-- The calls whose answer issued a credential: few among many, and looked for by
-- what they issued.
CREATE TABLE IF NOT EXISTS issues (
    time                DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    id                  FixedString(16),
    credential          FixedString(16),
    credential_instance String CODEC(ZSTD(1)),
    presented           FixedString(8),
    decision            UInt8,
    service             LowCardinality(String),
    operation           LowCardinality(String),
    mints               String CODEC(ZSTD(1))
) ENGINE = MergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (credential, time, id)
SETTINGS non_replicated_deduplication_window = 20000, index_granularity = 512;

CREATE MATERIALIZED VIEW IF NOT EXISTS places_feed TO places AS
SELECT credential, session, if(credential_kind = 8, credential_instance, '') AS key, workload, client_address, user_agent, source_type, reporter,
       toDate(time) AS day, min(time) AS first, max(time) AS last, count() AS calls,
       groupBitOrIf(bitShiftLeft(toUInt64(1), intDiv(toUnixTimestamp(time) % 86400, 300) % 64), intDiv(toUnixTimestamp(time) % 86400, 19200) = 0) AS slots0,
       groupBitOrIf(bitShiftLeft(toUInt64(1), intDiv(toUnixTimestamp(time) % 86400, 300) % 64), intDiv(toUnixTimestamp(time) % 86400, 19200) = 1) AS slots1,
       groupBitOrIf(bitShiftLeft(toUInt64(1), intDiv(toUnixTimestamp(time) % 86400, 300) % 64), intDiv(toUnixTimestamp(time) % 86400, 19200) = 2) AS slots2,
       groupBitOrIf(bitShiftLeft(toUInt64(1), intDiv(toUnixTimestamp(time) % 86400, 300) % 64), intDiv(toUnixTimestamp(time) % 86400, 19200) = 3) AS slots3,
       groupBitOrIf(bitShiftLeft(toUInt64(1), intDiv(toUnixTimestamp(time) % 86400, 300) % 64), intDiv(toUnixTimestamp(time) % 86400, 19200) = 4) AS slots4
FROM calls
WHERE decision IN (1, 2, 3)
GROUP BY credential, session, key, workload, client_address, user_agent, source_type, reporter, day;

CREATE MATERIALIZED VIEW IF NOT EXISTS parameters_feed TO parameters AS
SELECT credential, service, lower(name) AS parameter, toDate(time) AS day, min(time) AS first, max(time) AS last
FROM calls ARRAY JOIN query_keys AS name
WHERE decision IN (1, 2, 3) AND quality = 0
GROUP BY credential, service, parameter, day;

CREATE MATERIALIZED VIEW IF NOT EXISTS instances_feed TO instances AS
SELECT credential, credential_instance, presented, toUInt8(quality = 0) AS certain, toDate(time) AS day, min(time) AS first, max(time) AS last
FROM calls
WHERE decision IN (1, 2, 3) AND credential_instance != ''
GROUP BY credential, credential_instance, presented, certain, day;

CREATE MATERIALIZED VIEW IF NOT EXISTS issues_feed TO issues AS
SELECT time, id, credential, credential_instance, presented, decision, service, operation, mints
FROM calls
WHERE mints != '';
