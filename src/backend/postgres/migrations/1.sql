CREATE TABLE {schema}.vault_meta (
  name text PRIMARY KEY,
  value text NOT NULL
);
CREATE TABLE {schema}.vault_lease (
  id bytea PRIMARY KEY,
  until bigint NOT NULL,
  lasts bigint NOT NULL,
  renewals bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE TABLE {schema}.vault_session (
  id bytea PRIMARY KEY,
  token bigint NOT NULL DEFAULT 0,
  version bigint NOT NULL DEFAULT 0,
  commit_id bigint NOT NULL DEFAULT 0,
  updated_at bigint NOT NULL DEFAULT 0,
  expires_at bigint,
  owner bytea,
  lease_until bigint NOT NULL DEFAULT 0,
  lease_lasts bigint NOT NULL DEFAULT 0,
  lease bytea,
  client_token bigint,
  outbox bigint,
  outbox_step bigint,
  inherited bigint[] NOT NULL DEFAULT '{}',
  recent bigint[] NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
CREATE INDEX vault_session_outbox ON {schema}.vault_session (id) WHERE outbox IS NOT NULL;
CREATE TABLE {schema}.vault_record (
  session bytea NOT NULL,
  type bytea NOT NULL,
  id bytea NOT NULL,
  long_id bytea,
  value bytea NOT NULL,
  PRIMARY KEY (session, type, id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
ALTER TABLE {schema}.vault_record ALTER COLUMN value SET STORAGE EXTERNAL;
CREATE TABLE {schema}.vault_dead_letter (
  session bytea NOT NULL,
  token bigint NOT NULL,
  version bigint NOT NULL,
  reason bytea NOT NULL,
  at bigint NOT NULL,
  entry bytea NOT NULL,
  PRIMARY KEY (session, token, version)
);
