-- step 0001_first

CREATE TABLE IF NOT EXISTS calls (
    time                DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    id                  FixedString(16) CODEC(NONE),
    source_type         LowCardinality(String),
    source_name         LowCardinality(String),
    reporter            UInt8,
    credential          FixedString(16) CODEC(ZSTD(1)),
    credential_kind     UInt8,
    credential_id       String CODEC(ZSTD(1)),
    credential_issuer   LowCardinality(String),
    credential_subject  String CODEC(ZSTD(1)),
    credential_client   LowCardinality(String),
    credential_instance String CODEC(ZSTD(1)),
    session             String CODEC(ZSTD(1)),
    groups              Array(LowCardinality(String)),
    verified            UInt8,
    presented           FixedString(8) CODEC(ZSTD(1)),
    scopes              Array(LowCardinality(String)),
    scopes_known        UInt8,
    permissions_used    Array(LowCardinality(String)),
    decision            UInt8,
    policy              LowCardinality(String),
    service             LowCardinality(String),
    operation           LowCardinality(String),
    route_source        UInt8,
    method              LowCardinality(String),
    host                LowCardinality(String),
    path                String CODEC(ZSTD(1)),
    query_keys          Array(LowCardinality(String)),
    resource            String CODEC(ZSTD(1)),
    status              UInt16 CODEC(T64, ZSTD(1)),
    request_bytes       UInt64 CODEC(T64, ZSTD(1)),
    response_bytes      UInt64 CODEC(T64, ZSTD(1)),
    duration_us         UInt64 CODEC(T64, ZSTD(1)),
    client_address      IPv6 CODEC(ZSTD(1)),
    peer_address        IPv6 CODEC(ZSTD(1)),
    workload            LowCardinality(String),
    user_agent          LowCardinality(String),
    tenant              LowCardinality(String),
    environment         LowCardinality(String),
    request_id          String CODEC(ZSTD(1)),
    trace_id            String CODEC(ZSTD(1)),
    actor_chain         Array(LowCardinality(String)),
    mints               String CODEC(ZSTD(1)),
    quality             UInt8
) ENGINE = MergeTree
PARTITION BY toYYYYMMDD(time)
ORDER BY (credential, time, id)
SETTINGS non_replicated_deduplication_window = 20000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS use_hour (
    credential   FixedString(16),
    service      LowCardinality(String),
    operation    LowCardinality(String),
    tenant       LowCardinality(String),
    decision     UInt8,
    reporter     UInt8,
    certain      UInt8,
    route_source UInt8,
    presented    FixedString(8),
    hour         DateTime('UTC') CODEC(Delta, ZSTD(1)),
    first        SimpleAggregateFunction(min, DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1)),
    last         SimpleAggregateFunction(max, DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1)),
    calls        SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1))
) ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (credential, service, operation, tenant, decision, reporter, certain, route_source, presented, hour)
SETTINGS non_replicated_deduplication_window = 20000;

CREATE TABLE IF NOT EXISTS use_day (
    credential   FixedString(16),
    service      LowCardinality(String),
    operation    LowCardinality(String),
    tenant       LowCardinality(String),
    decision     UInt8,
    reporter     UInt8,
    certain      UInt8,
    route_source UInt8,
    presented    FixedString(8),
    day          Date CODEC(Delta, ZSTD(1)),
    first        SimpleAggregateFunction(min, DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1)),
    last         SimpleAggregateFunction(max, DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1)),
    calls        SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1))
) ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (credential, service, operation, tenant, decision, reporter, certain, route_source, presented, day)
SETTINGS non_replicated_deduplication_window = 20000;

CREATE TABLE IF NOT EXISTS use_life (
    credential   FixedString(16),
    service      LowCardinality(String),
    operation    LowCardinality(String),
    tenant       LowCardinality(String),
    decision     UInt8,
    reporter     UInt8,
    certain      UInt8,
    route_source UInt8,
    presented    FixedString(8),
    first        SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last         SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    days         SimpleAggregateFunction(groupUniqArrayArray, Array(UInt16)),
    calls        SimpleAggregateFunction(sum, UInt64)
) ENGINE = AggregatingMergeTree
ORDER BY (credential, service, operation, tenant, decision, reporter, certain, route_source, presented)
SETTINGS non_replicated_deduplication_window = 20000;

CREATE TABLE IF NOT EXISTS principals (
    credential FixedString(16),
    kind       UInt8,
    id         String,
    issuer     String,
    subject    String,
    client     String,
    first      SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last       SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
) ENGINE = AggregatingMergeTree
ORDER BY (credential, kind, id, issuer, subject, client)
SETTINGS non_replicated_deduplication_window = 20000;

CREATE TABLE IF NOT EXISTS presented (
    presented    FixedString(8),
    scopes_known UInt8,
    scopes       Array(String),
    groups       Array(String)
) ENGINE = ReplacingMergeTree
ORDER BY presented
SETTINGS non_replicated_deduplication_window = 20000;

CREATE MATERIALIZED VIEW IF NOT EXISTS use_hour_feed TO use_hour AS
SELECT credential, service, operation, tenant, decision, reporter, toUInt8(quality = 0) AS certain, route_source, presented,
       toStartOfHour(time) AS hour, min(time) AS first, max(time) AS last, count() AS calls
FROM calls
GROUP BY credential, service, operation, tenant, decision, reporter, certain, route_source, presented, hour;

CREATE MATERIALIZED VIEW IF NOT EXISTS use_day_feed TO use_day AS
SELECT credential, service, operation, tenant, decision, reporter, toUInt8(quality = 0) AS certain, route_source, presented,
       toDate(time) AS day, min(time) AS first, max(time) AS last, count() AS calls
FROM calls
GROUP BY credential, service, operation, tenant, decision, reporter, certain, route_source, presented, day;

CREATE MATERIALIZED VIEW IF NOT EXISTS use_life_feed TO use_life AS
SELECT credential, service, operation, tenant, decision, reporter, toUInt8(quality = 0) AS certain, route_source, presented,
       min(time) AS first, max(time) AS last, groupUniqArray(toUInt16(toDate(time))) AS days, count() AS calls
FROM calls
GROUP BY credential, service, operation, tenant, decision, reporter, certain, route_source, presented;

CREATE MATERIALIZED VIEW IF NOT EXISTS principals_feed TO principals AS
SELECT credential, credential_kind AS kind, credential_id AS id, credential_issuer AS issuer,
       credential_subject AS subject, credential_client AS client, min(time) AS first, max(time) AS last
FROM calls
GROUP BY credential, kind, id, issuer, subject, client;

CREATE MATERIALIZED VIEW IF NOT EXISTS presented_feed TO presented AS
SELECT presented, any(scopes_known) AS scopes_known, any(scopes) AS scopes, any(groups) AS groups
FROM calls
GROUP BY presented;

CREATE TABLE IF NOT EXISTS source_day (
    source_type LowCardinality(String),
    service     LowCardinality(String),
    day         Date,
    calls       SimpleAggregateFunction(sum, UInt64)
) ENGINE = AggregatingMergeTree
ORDER BY (service, source_type, day)
SETTINGS non_replicated_deduplication_window = 20000;

CREATE MATERIALIZED VIEW IF NOT EXISTS source_day_feed TO source_day AS
SELECT source_type, service, toDate(time) AS day, count() AS calls
FROM calls
GROUP BY source_type, service, day;

CREATE TABLE IF NOT EXISTS findings (
    id         String,
    code       LowCardinality(String),
    severity   UInt8,
    status     UInt8,
    credential String,
    first      DateTime64(6, 'UTC'),
    last       DateTime64(6, 'UTC'),
    body       String CODEC(ZSTD(1)),
    written    DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(written)
ORDER BY id;

CREATE TABLE IF NOT EXISTS grants (
    credential String,
    authority  LowCardinality(String),
    body       String CODEC(ZSTD(1)),
    loaded     DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(loaded)
ORDER BY (credential, authority, body);

CREATE TABLE IF NOT EXISTS ledger (
    run         String,
    source_type LowCardinality(String),
    source_name String,
    first_unit  UInt64,
    next_unit   UInt64,
    calls       UInt64,
    repeated    UInt64,
    skipped     Map(LowCardinality(String), UInt64),
    first_time  DateTime64(6, 'UTC'),
    last_time   DateTime64(6, 'UTC'),
    done        UInt8,
    state       Enum8('planned' = 1, 'confirmed' = 2, 'repaired' = 3),
    written     DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(written)
ORDER BY (run, source_type, source_name, first_unit, next_unit, state);

-- step 0002_pipeline

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

ALTER TABLE ledger ADD COLUMN IF NOT EXISTS followed UInt8;

-- step 0003_detection

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

CREATE TABLE IF NOT EXISTS leases (
    shard   String,
    term    UInt64,
    holder  String,
    until   DateTime64(6, 'UTC'),
    written DateTime64(6, 'UTC')
) ENGINE = MergeTree
ORDER BY (shard, term)
SETTINGS non_replicated_deduplication_window = 20000;

CREATE TABLE IF NOT EXISTS suppressions (
    id      String,
    reason  String,
    until   DateTime64(6, 'UTC'),
    written DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(written)
ORDER BY id;

CREATE TABLE IF NOT EXISTS deliveries (
    receiver String,
    upto     DateTime64(6, 'UTC'),
    written  DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(written)
ORDER BY receiver;

-- step 0004_swap

CREATE TABLE IF NOT EXISTS swaps (
    run       String,
    first_day Date,
    last_day  Date,
    calls     UInt64,
    changed   UInt64,
    state     Enum8('begun' = 1, 'done' = 2),
    written   DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(written)
ORDER BY (run, first_day, last_day, state);

-- step 0005_pace

CREATE TABLE IF NOT EXISTS pace (
    credential FixedString(16),
    service    LowCardinality(String),
    operation  LowCardinality(String),
    reporter   UInt8,
    hour       DateTime('UTC') CODEC(Delta, ZSTD(1)),
    calls      SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
    missed     SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
    objects    AggregateFunction(uniqCombined(12), String) CODEC(ZSTD(1))
) ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (credential, service, operation, reporter, hour)
SETTINGS non_replicated_deduplication_window = 20000;

CREATE MATERIALIZED VIEW IF NOT EXISTS pace_feed TO pace AS
SELECT credential, service, operation, reporter, toStartOfHour(time) AS hour, count() AS calls,
       countIf(decision != 1) AS missed, uniqCombinedState(12)(if(resource != '', resource, path)) AS objects
FROM calls
WHERE decision IN (1, 2, 3)
GROUP BY credential, service, operation, reporter, hour;

-- step 0006_places

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

-- step 0007_merges

ALTER TABLE calls MODIFY SETTING merge_selector_base = 12;

ALTER TABLE use_hour MODIFY SETTING merge_selector_base = 12;

ALTER TABLE use_day MODIFY SETTING merge_selector_base = 12;

ALTER TABLE use_life MODIFY SETTING merge_selector_base = 12;

ALTER TABLE source_day MODIFY SETTING merge_selector_base = 12;

ALTER TABLE principals MODIFY SETTING merge_selector_base = 12;

ALTER TABLE presented MODIFY SETTING merge_selector_base = 12;

ALTER TABLE touched MODIFY SETTING merge_selector_base = 12;

ALTER TABLE pace MODIFY SETTING merge_selector_base = 12;

ALTER TABLE places MODIFY SETTING merge_selector_base = 12;

ALTER TABLE parameters MODIFY SETTING merge_selector_base = 12;

ALTER TABLE instances MODIFY SETTING merge_selector_base = 12;

ALTER TABLE issues MODIFY SETTING merge_selector_base = 12;

