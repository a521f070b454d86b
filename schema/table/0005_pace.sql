-- How fast credentials work.
-- Authorised and refused calls by hour, and of how many objects, for each
-- operation: what bulk reading and bursts are told by. missed are those without
-- effect or refused. The sketch of objects does not depend on the order in which
-- calls came in, nor on one that came twice.
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
