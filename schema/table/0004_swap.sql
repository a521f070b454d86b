-- What re-enrichment keeps.
-- A swap puts whole days of calls, and the rollups folded from them, in the
-- place of others. While one is begun and not done, raw and rollups may tell of
-- different catalogues: who reads both looks here before and after.
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
