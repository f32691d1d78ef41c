-- The control schema, one in each database. DMS replicates marker and heartbeat both ways, together with the
-- payments and within the same task, so that their rows arrive in the order of the commits around them.
-- Each statement can be repeated.

-- One row for each switch of the writer: written on the old writer after the fence, awaited on the new one.
CREATE TABLE IF NOT EXISTS marker (
    marker_id   CHAR(36)     NOT NULL COMMENT 'UUID of this switch',
    cutover_id  VARCHAR(128) NOT NULL,
    old_writer  VARCHAR(16)  NOT NULL COMMENT 'legacy, blue or green',
    new_writer  VARCHAR(16)  NOT NULL,
    written_at  DATETIME(6)  NOT NULL DEFAULT CURRENT_TIMESTAMP(6) COMMENT 'UTC of the old writer',
    PRIMARY KEY (marker_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- One row for each database, updated there and read in its neighbours: the difference is the replication lag.
CREATE TABLE IF NOT EXISTS heartbeat (
    environment VARCHAR(16)     NOT NULL COMMENT 'the database that writes the row: legacy, blue or green',
    beat        BIGINT UNSIGNED NOT NULL COMMENT 'one more with each update',
    written_at  DATETIME(6)     NOT NULL DEFAULT CURRENT_TIMESTAMP(6) COMMENT 'UTC of that database',
    PRIMARY KEY (environment)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- How far the first creation of this database came; not replicated, and keyed by environment all the same.
CREATE TABLE IF NOT EXISTS bootstrap (
    environment        VARCHAR(16) NOT NULL COMMENT 'blue or green',
    phase              VARCHAR(16) NOT NULL COMMENT 'creating or complete',
    writer_at_creation BOOLEAN     NOT NULL COMMENT 'as the first run had it; later runs do not change it',
    started_at         DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    completed_at       DATETIME(6) NULL,
    PRIMARY KEY (environment)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
