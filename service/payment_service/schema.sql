-- Tables of the payments, applied to the payment schema as the connection's default database.
-- Every statement may run again on a database that holds payments.
--
-- Every key is natural. No value comes from a counter of one server, so that a row means the same in each of
-- them and no auto_increment setting has to keep two servers apart. DMS validates only tables that have a
-- primary key.

CREATE TABLE IF NOT EXISTS payments (
  id               CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'the idempotency key, a UUID',
  amount           DECIMAL(16,4) NOT NULL,
  currency         CHAR(3) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'ISO 4217',
  debtor_account   VARCHAR(34) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  creditor_account VARCHAR(34) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  payment_token    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'never a card number',
  reference        VARCHAR(140) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
  recorded_in      VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'database that was the writer',
  created_at       DATETIME(6) NOT NULL COMMENT 'UTC',
  PRIMARY KEY (id),
  CONSTRAINT payments_amount CHECK (amount > 0)
) ENGINE=InnoDB;

-- Two entries for each payment, which add up to zero.
CREATE TABLE IF NOT EXISTS ledger_entries (
  payment_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  account    VARCHAR(34) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  currency   CHAR(3) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  amount     DECIMAL(16,4) NOT NULL COMMENT 'negative for the debtor',
  PRIMARY KEY (payment_id, account)
) ENGINE=InnoDB;

-- The sum of an account's ledger entries in one currency.
CREATE TABLE IF NOT EXISTS balances (
  account  VARCHAR(34) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  currency CHAR(3) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  amount   DECIMAL(24,4) NOT NULL,
  PRIMARY KEY (account, currency)
) ENGINE=InnoDB;
