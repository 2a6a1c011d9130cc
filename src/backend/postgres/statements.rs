//! The statements, each written once.
//!
//! Those that change a session have the same beginning: `was` is its row as the statement's snapshot shows it, and
//! `held` is the row as it is *now*, locked. A row that another transaction has locked is skipped, which answers
//! "busy". One that another transaction has changed since the snapshot was taken differs between the two, which answers
//! "moved": the snapshot shows older records than the row, so the statement must begin anew. What is left goes on with
//! both of one version, and nobody else changes it before the statement has ended.
//!
//! Judgements that hold whatever the records are (another owner, another version) are made from `held` alone.
//! `docs/internals/postgres.md` says why this is enough under READ COMMITTED.

/// What became of a statement for one session.
pub(super) mod verdict {
    pub const DONE: i32 = 0;
    /// The session has no row.
    pub const NONE: i32 = 1;
    /// Another transaction holds the row.
    pub const BUSY: i32 = 2;
    /// Another transaction changed the row since this one began.
    pub const MOVED: i32 = 3;
    pub const FENCED: i32 = 4;
    /// Its owner uses an outbox.
    pub const OUTBOX: i32 = 5;
    pub const EXPIRED: i32 = 6;
    /// It is at another version.
    pub const VERSION: i32 = 7;
    /// This very commit was made before.
    pub const AGAIN: i32 = 8;
    /// Somebody holds the lease.
    pub const HELD: i32 = 9;
    /// The caller's own token is too low.
    pub const CLIENT_TOKEN: i32 = 10;
}

/// The server's clock, in milliseconds, and once more in microseconds for tokens.
const CLOCK: &str = "clock AS MATERIALIZED (SELECT floor(extract(epoch FROM t) * 1000)::int8 AS now, \
     floor(extract(epoch FROM t) * 1000000)::int8 AS micros FROM clock_timestamp() AS t)";

/// Owners that are remembered beside their versions.
pub(super) const INHERITED: usize = 8;
/// Commits of writers without owner that are remembered beside their versions.
const RECENT: usize = 16;

/// Statements for the tables of one schema.
pub(super) struct Statements {
    pub commit: String,
    pub acquire: String,
    pub attach: String,
    pub release: String,
    pub delete: String,
    pub stands: String,
    pub touch: String,
    pub make: String,
    pub purge: String,
    pub renew: String,
    pub new_lease: String,
    pub drop_leases: String,
    pub look: String,
    pub leases: String,
    pub read: String,
    pub scan: String,
    pub scan_kind: String,
    pub list: String,
    pub head: String,
    pub remember: String,
    pub expired: String,
    pub sweep_sessions: String,
    pub sweep_leases: String,
    pub metadata: String,
    pub open_outbox: String,
    pub close_outbox: String,
    pub abandoned: String,
    pub push_letter: String,
    pub letters: String,
}

/// A name as SQL takes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Adds a pair to an array of pairs and keeps the last `pairs` of them.
fn pushed(array: &str, one: &str, other: &str, pairs: usize) -> String {
    let before_last = 2 * pairs - 3;
    format!("({array} || ARRAY[{one}, {other}])[greatest(1, cardinality({array}) - {before_last}):]")
}

impl Statements {
    pub fn new(schema: &str) -> Self {
        let schema = quoted(schema);
        let write = |text: &str| {
            text.replace("{clock}", CLOCK)
                .replace(
                    "{recent}",
                    &pushed("s.recent", "j.commit_id", "j.version + j.patches", RECENT),
                )
                .replace(
                    "{given_up}",
                    &pushed("s.inherited", "j.outbox", "j.found", INHERITED),
                )
                .replace("{handed_on}", &pushed("s.inherited", "$3", "$4", INHERITED))
                .replace("{opened}", &pushed("s.inherited", "$5", "$6", INHERITED))
                .replace("vault_", &format!("{schema}.vault_"))
        };
        Self {
            commit: write(COMMIT),
            acquire: write(ACQUIRE),
            attach: write(ATTACH),
            release: write(RELEASE),
            delete: write(DELETE),
            stands: write("SELECT version, commit_id FROM vault_session WHERE id = $1"),
            touch: write(TOUCH),
            make: write("INSERT INTO vault_session (id) VALUES ($1) ON CONFLICT (id) DO NOTHING"),
            purge: write(PURGE),
            renew: write(
                "UPDATE vault_lease SET renewals = renewals + 1, \
                 until = greatest(until, floor(extract(epoch FROM clock_timestamp()) * 1000)::int8 + lasts) \
                 WHERE id = $1 RETURNING until",
            ),
            new_lease: write(
                "INSERT INTO vault_lease (id, lasts, until) \
                 VALUES ($1, $2, floor(extract(epoch FROM clock_timestamp()) * 1000)::int8 + $2)",
            ),
            drop_leases: write("DELETE FROM vault_lease WHERE id = ANY ($1)"),
            look: write(
                "SELECT id, token, CASE WHEN outbox IS NULL THEN version END, lease FROM vault_session WHERE id = ANY ($1)",
            ),
            leases: write(LEASES),
            read: write(READ),
            scan: write(&SCAN.replace("{kind}", "$5::bytea IS NULL")),
            scan_kind: write(&SCAN.replace("{kind}", "type = $5")),
            list: write(
                "WITH {clock} SELECT id FROM vault_session, clock WHERE version > 0 \
                 AND (expires_at IS NULL OR expires_at > now) AND id > $1 ORDER BY id LIMIT $2",
            ),
            head: write(
                "WITH {clock} SELECT version, updated_at FROM vault_session, clock \
                 WHERE id = $1 AND (expires_at IS NULL OR expires_at > now)",
            ),
            remember: write(
                "WITH made AS (INSERT INTO vault_meta (name, value) VALUES ($1, $2) \
                 ON CONFLICT (name) DO NOTHING RETURNING value) \
                 SELECT value FROM made UNION ALL SELECT value FROM vault_meta WHERE name = $1",
            ),
            expired: write(
                "WITH {clock} SELECT id FROM vault_session, clock WHERE version > 0 AND outbox IS NULL \
                 AND expires_at + $1 <= now LIMIT 100",
            ),
            sweep_sessions: write(SWEEP_SESSIONS),
            sweep_leases: write("WITH {clock} DELETE FROM vault_lease USING clock WHERE until + $1 <= now"),
            metadata: write(METADATA),
            open_outbox: write(OPEN_OUTBOX),
            close_outbox: write(CLOSE_OUTBOX),
            abandoned: write(ABANDONED),
            push_letter: write(
                "INSERT INTO vault_dead_letter (session, token, version, reason, at, entry) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            ),
            letters: write(
                "SELECT session, token, version, reason, at, entry FROM vault_dead_letter \
                 ORDER BY at, session, token, version",
            ),
        }
    }
}

/// Many sessions, each with its own check and its own answer.
const COMMIT: &str = "\
WITH {clock},
q AS MATERIALIZED (
  SELECT * FROM unnest($1::bytea[], $2::int8[], $3::int8[], $4::int8[], $5::bool[], $6::int8[], $7::int8[])
    WITH ORDINALITY AS q (id, token, base, patches, checked, commit_id, ttl, n)
),
was AS MATERIALIZED (SELECT id, token, version, commit_id FROM vault_session WHERE id = ANY ($1)),
held AS MATERIALIZED (
  SELECT id, token, version, commit_id, updated_at, expires_at, outbox, recent
  FROM vault_session WHERE id = ANY ($1) ORDER BY id FOR UPDATE SKIP LOCKED
),
judged AS MATERIALIZED (
  SELECT q.*, clock.now, h.token AS current, h.version, h.updated_at,
    h.recent[array_position(h.recent, q.commit_id) + 1] AS done,
    CASE
      WHEN h.id IS NULL AND w.id IS NULL THEN 1
      WHEN h.id IS NULL THEN 2
      WHEN q.token <> h.token THEN 4
      WHEN q.token IS NOT NULL AND h.commit_id = q.commit_id AND h.version = q.base + q.patches THEN 8
      WHEN q.token IS NULL AND q.commit_id = ANY (h.recent) THEN 8
      WHEN q.token IS NULL AND h.outbox IS NOT NULL THEN 5
      WHEN h.expires_at <= clock.now THEN 6
      WHEN CASE WHEN q.checked THEN h.version <> q.base ELSE h.version < q.base END THEN 7
      WHEN (h.token, h.version, h.commit_id) IS DISTINCT FROM (w.token, w.version, w.commit_id) THEN 3
      ELSE 0
    END AS verdict
  FROM q CROSS JOIN clock LEFT JOIN held h ON h.id = q.id LEFT JOIN was w ON w.id = q.id
),
moved AS (
  UPDATE vault_session s SET version = j.version + j.patches, commit_id = j.commit_id, updated_at = j.now,
    expires_at = j.now + j.ttl, recent = CASE WHEN j.token IS NULL THEN {recent} ELSE s.recent END
  FROM judged j WHERE s.id = j.id AND j.verdict = 0
),
put AS (
  INSERT INTO vault_record (session, type, id, long_id, value)
  SELECT j.id, p.type, p.id, p.long_id, p.value
  FROM unnest($8::int8[], $9::bytea[], $10::bytea[], $11::bytea[], $12::bytea[]) AS p (n, type, id, long_id, value)
  JOIN judged j ON j.n = p.n WHERE j.verdict = 0
  ON CONFLICT (session, type, id) DO UPDATE SET value = excluded.value
),
removed AS (
  DELETE FROM vault_record r USING judged j, unnest($13::int8[], $14::bytea[], $15::bytea[]) AS d (n, type, id)
  WHERE j.n = d.n AND j.verdict = 0 AND r.session = j.id AND r.type = d.type AND r.id = d.id
)
SELECT n, verdict, current, version, updated_at, now, done FROM judged";

/// Many sessions, each with its own answer. `over` is the lease of a process that ran out, and is locked so that it cannot
/// be renewed meanwhile.
const ACQUIRE: &str = "\
WITH {clock},
q AS MATERIALIZED (
  SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::bool[], $8::int8[],
      $9::int8[], $10::bytea[])
    WITH ORDINALITY AS q (id, owner, lasts, client_token, preempt, ready_for, given_up, seen_until, seen_renewals,
      lease, n)
),
made AS (
  INSERT INTO vault_session (id, token, owner, lease_until, lease_lasts, lease, client_token)
  SELECT q.id, micros, q.owner, now + q.lasts, q.lasts, q.lease, q.client_token FROM clock, q
  WHERE NOT EXISTS (SELECT FROM vault_session s WHERE s.id = q.id)
  ORDER BY q.id ON CONFLICT (id) DO NOTHING RETURNING id, token
),
was AS MATERIALIZED (SELECT * FROM vault_session WHERE id = ANY ($1)),
held AS MATERIALIZED (SELECT * FROM vault_session WHERE id = ANY ($1) ORDER BY id FOR UPDATE SKIP LOCKED),
process AS MATERIALIZED (SELECT l.* FROM vault_lease l WHERE l.id IN (SELECT lease FROM held)),
over AS MATERIALIZED (
  SELECT l.id, l.until <= clock.now AS ended, l.renewals FROM vault_lease l, clock
  WHERE l.id IN (SELECT lease FROM held) AND (l.until <= clock.now OR l.renewals = ANY ($9))
  ORDER BY l.id FOR UPDATE OF l SKIP LOCKED
),
judged AS MATERIALIZED (
  SELECT q.n, q.id, q.owner AS wanted_by, q.lasts AS wanted_for, q.client_token AS wanted_with, q.given_up,
    q.lease AS named, clock.*, h.token, h.version, h.commit_id, h.updated_at, h.expires_at, h.owner, h.lease_until,
    h.lease_lasts, h.lease, h.client_token, h.outbox, h.inherited, l.until, l.lasts, l.renewals, m.token AS made,
    o.id AS over,
    coalesce(h.expires_at <= clock.now, false) AS expired,
    CASE WHEN h.expires_at <= clock.now THEN 0 ELSE h.version END AS found,
    CASE
      WHEN m.token IS NOT NULL THEN 1
      WHEN h.id IS NULL THEN 2
      WHEN q.client_token < h.client_token THEN 10
      WHEN NOT (
        h.owner IS NULL OR h.token = coalesce(q.preempt, -1)
        OR (h.lease_until <= clock.now OR h.lease_until = coalesce(q.seen_until, -1))
          AND (h.lease IS NULL OR l.id IS NULL OR coalesce(o.ended OR o.renewals = q.seen_renewals, false))
      ) THEN 9
      WHEN h.outbox IS NOT NULL AND NOT (q.given_up OR h.outbox = coalesce(q.ready_for, -1)) THEN 5
      WHEN (h.token, h.version, h.commit_id, h.lease, h.lease_until, h.outbox)
        IS DISTINCT FROM (w.token, w.version, w.commit_id, w.lease, w.lease_until, w.outbox) THEN 3
      ELSE 0
    END AS verdict
  FROM q CROSS JOIN clock LEFT JOIN made m ON m.id = q.id LEFT JOIN held h ON h.id = q.id
    LEFT JOIN was w ON w.id = q.id LEFT JOIN process l ON l.id = h.lease LEFT JOIN over o ON o.id = h.lease
),
taken AS (
  UPDATE vault_session s SET token = greatest(s.token + 1, j.micros), owner = j.wanted_by,
    lease_until = j.now + j.wanted_for, lease_lasts = j.wanted_for, lease = j.named,
    client_token = coalesce(j.wanted_with, s.client_token), recent = '{}',
    version = j.found, commit_id = CASE WHEN j.expired THEN 0 ELSE s.commit_id END,
    updated_at = CASE WHEN j.expired THEN j.now ELSE s.updated_at END,
    expires_at = CASE WHEN j.expired THEN NULL ELSE s.expires_at END,
    outbox = CASE WHEN j.given_up THEN NULL ELSE s.outbox END, outbox_step = NULL,
    inherited = CASE WHEN j.given_up AND s.outbox IS NOT NULL THEN {given_up} ELSE s.inherited END
  FROM judged j WHERE s.id = j.id AND j.verdict = 0
  RETURNING j.n, s.token, s.version, s.commit_id, s.updated_at, s.expires_at, s.outbox, s.inherited
),
ended AS (
  DELETE FROM vault_lease WHERE id IN (SELECT over FROM judged WHERE verdict = 0)
),
wiped AS (
  DELETE FROM vault_record r USING judged j WHERE j.verdict = 0 AND j.expired AND r.session = j.id
),
found AS (
  SELECT j.n, array_agg(r.value ORDER BY k.place) AS records
  FROM unnest($11::int8[], $12::bytea[], $13::bytea[]) WITH ORDINALITY AS k (n, type, id, place)
  JOIN judged j ON j.n = k.n AND j.verdict = 0 AND NOT j.expired
  LEFT JOIN vault_record r ON r.session = j.id AND r.type = k.type AND r.id = k.id
  GROUP BY j.n
)
SELECT j.verdict, coalesce(t.token, j.made, j.token), coalesce(t.version, j.found, 0),
  coalesce(t.commit_id, j.commit_id, 0), coalesce(t.updated_at, j.updated_at, 0),
  CASE WHEN t.token IS NULL THEN j.expires_at ELSE t.expires_at END,
  CASE WHEN t.token IS NULL THEN j.outbox ELSE t.outbox END,
  coalesce(t.inherited, j.inherited, '{}'), j.owner, j.lease_until, j.lease_lasts, j.lease, j.until, j.lasts,
  j.renewals, j.client_token, j.now, f.records, j.n
FROM judged j LEFT JOIN taken t ON t.n = j.n LEFT JOIN found f ON f.n = j.n";

/// Lets sessions be held by the lease of their process.
const ATTACH: &str = "\
WITH {clock},
q AS MATERIALIZED (SELECT * FROM unnest($1::bytea[], $2::int8[]) WITH ORDINALITY AS q (id, token, n)),
was AS MATERIALIZED (SELECT id FROM vault_session WHERE id = ANY ($1)),
held AS MATERIALIZED (
  SELECT id, token, version FROM vault_session WHERE id = ANY ($1) ORDER BY id FOR UPDATE SKIP LOCKED
),
named AS (
  UPDATE vault_session s SET lease = $3, lease_lasts = $4, lease_until = greatest(s.lease_until, clock.now + $4)
  FROM clock, q JOIN held h ON h.id = q.id AND h.token = q.token WHERE s.id = q.id
)
SELECT q.n, CASE WHEN h.id IS NULL AND w.id IS NULL THEN 1 WHEN h.id IS NULL THEN 2 WHEN h.token <> q.token THEN 4
  ELSE 0 END, h.token
FROM q LEFT JOIN held h ON h.id = q.id LEFT JOIN was w ON w.id = q.id";

/// Many sessions; answers with those that another transaction holds.
const RELEASE: &str = "\
WITH {clock},
q AS MATERIALIZED (SELECT * FROM unnest($1::bytea[], $2::int8[]) WITH ORDINALITY AS q (id, token, n)),
was AS MATERIALIZED (SELECT id FROM vault_session WHERE id = ANY ($1)),
held AS MATERIALIZED (
  SELECT id, token FROM vault_session WHERE id = ANY ($1) ORDER BY id FOR UPDATE SKIP LOCKED
),
freed AS (
  UPDATE vault_session s SET owner = NULL, lease = NULL, lease_until = clock.now
  FROM clock, q JOIN held h ON h.id = q.id AND h.token = q.token WHERE s.id = q.id
)
SELECT q.n FROM q JOIN was w ON w.id = q.id LEFT JOIN held h ON h.id = q.id WHERE h.id IS NULL";

/// What is left is the row, which keeps the tokens: a tombstone. It names the state that was seen: should this arrive
/// late, it must not take what was written since.
const DELETE: &str = "\
WITH {clock},
was AS MATERIALIZED (SELECT * FROM vault_session WHERE id = $1),
held AS MATERIALIZED (SELECT * FROM vault_session WHERE id = $1 FOR UPDATE SKIP LOCKED),
judged AS MATERIALIZED (
  SELECT clock.now, h.id, h.token, coalesce(h.version > 0 AND (h.expires_at IS NULL OR h.expires_at > clock.now), false)
      AS existed,
    CASE
      WHEN h.id IS NULL AND w.id IS NULL THEN 1
      WHEN h.id IS NULL THEN 2
      WHEN $2 <> h.token THEN 4
      WHEN h.outbox IS NOT NULL THEN 5
      WHEN (h.version, h.commit_id) IS DISTINCT FROM ($3, $4) THEN 3
      WHEN (h.token, h.version, h.commit_id) IS DISTINCT FROM (w.token, w.version, w.commit_id) THEN 3
      ELSE 0
    END AS verdict
  FROM clock LEFT JOIN held h ON true LEFT JOIN was w ON true
),
buried AS (
  UPDATE vault_session s SET version = 0, commit_id = 0, updated_at = j.now, expires_at = NULL, recent = '{}'
  FROM judged j WHERE s.id = j.id AND j.verdict = 0 AND s.version > 0
),
wiped AS (DELETE FROM vault_record WHERE session = $1 AND (SELECT verdict = 0 FROM judged))
SELECT verdict, token, existed FROM judged";

const TOUCH: &str = "\
WITH {clock},
was AS MATERIALIZED (SELECT id FROM vault_session WHERE id = $1),
held AS MATERIALIZED (
  SELECT id, token, version, expires_at, outbox FROM vault_session WHERE id = $1 FOR UPDATE SKIP LOCKED
),
judged AS MATERIALIZED (
  SELECT clock.now, h.id, h.token, coalesce(h.version > 0 AND (h.expires_at IS NULL OR h.expires_at > clock.now), false)
      AS exists,
    CASE
      WHEN h.id IS NULL AND w.id IS NULL THEN 1
      WHEN h.id IS NULL THEN 2
      WHEN $2 <> h.token THEN 4
      WHEN $2 IS NULL AND h.outbox IS NOT NULL THEN 5
      ELSE 0
    END AS verdict
  FROM clock LEFT JOIN held h ON true LEFT JOIN was w ON true
),
kept AS (
  UPDATE vault_session s SET expires_at = j.now + $3 FROM judged j WHERE s.id = j.id AND j.verdict = 0 AND j.exists
)
SELECT verdict, token, exists FROM judged";

/// Turns sessions whose time was over for so long into ones that do not exist.
const PURGE: &str = "\
WITH {clock},
was AS MATERIALIZED (SELECT id, version, commit_id FROM vault_session WHERE id = ANY ($1)),
held AS MATERIALIZED (
  SELECT h.id, h.version, h.commit_id FROM vault_session h, clock
  WHERE h.id = ANY ($1) AND h.outbox IS NULL AND h.version > 0 AND h.expires_at + $2 <= clock.now
  ORDER BY h.id FOR UPDATE OF h SKIP LOCKED
),
due AS MATERIALIZED (SELECT h.id FROM held h JOIN was w USING (id, version, commit_id)),
buried AS (
  UPDATE vault_session s SET version = 0, commit_id = 0, updated_at = clock.now, expires_at = NULL, recent = '{}'
  FROM due, clock WHERE s.id = due.id
),
wiped AS (DELETE FROM vault_record r USING due WHERE r.session = due.id)
SELECT count(*) FROM due";

/// Rows of sessions that do not exist, and have not been held for so long.
const SWEEP_SESSIONS: &str = "\
WITH {clock}, idle AS MATERIALIZED (
  SELECT s.id FROM vault_session s, clock
  WHERE s.version = 0 AND s.outbox IS NULL AND greatest(s.lease_until, s.updated_at) + $1 <= clock.now
    AND NOT EXISTS (SELECT FROM vault_lease l WHERE l.id = s.lease AND l.until + $1 > clock.now)
  ORDER BY s.id LIMIT 1000 FOR UPDATE OF s SKIP LOCKED
)
DELETE FROM vault_session s USING idle WHERE s.id = idle.id AND s.version = 0";

const LEASES: &str = "\
WITH {clock}
SELECT s.id, s.token, s.owner, s.lease_until, s.lease_lasts, s.lease, l.until, l.lasts, l.renewals, clock.now
FROM clock, vault_session s LEFT JOIN vault_lease l ON l.id = s.lease
WHERE s.id = ANY ($1) AND s.owner IS NOT NULL";

/// One row if the session has one, with the records in the order asked.
const READ: &str = "\
WITH {clock}
SELECT s.token, CASE WHEN s.expires_at <= clock.now THEN 0 ELSE s.version END, (
    SELECT array_agg(r.value ORDER BY k.n)
    FROM unnest($2::bytea[], $3::bytea[]) WITH ORDINALITY AS k (type, id, n)
    LEFT JOIN vault_record r ON r.session = $1 AND r.type = k.type AND r.id = k.id
  )
FROM vault_session s, clock WHERE s.id = $1";

/// A row for each record, and one without record if there is none.
const SCAN: &str = "\
WITH {clock}
SELECT s.token, CASE WHEN s.expires_at <= clock.now THEN 0 ELSE s.version END, r.type, r.id, r.long_id, r.value
FROM clock, vault_session s LEFT JOIN LATERAL (
  SELECT type, id, long_id, value FROM vault_record
  WHERE session = $1 AND (type, id) > ($2, $3) AND {kind} ORDER BY type, id LIMIT $4
) r ON true
WHERE s.id = $1";

const METADATA: &str = "\
WITH {clock}
SELECT token, CASE WHEN expires_at <= now THEN 0 ELSE version END, commit_id, updated_at, expires_at, outbox,
  inherited, now
FROM vault_session, clock WHERE id = $1";

const OPEN_OUTBOX: &str = "\
WITH was AS MATERIALIZED (SELECT * FROM vault_session WHERE id = $1),
held AS MATERIALIZED (SELECT * FROM vault_session WHERE id = $1 FOR UPDATE SKIP LOCKED),
opened AS (
  UPDATE vault_session s SET outbox = $2, outbox_step = $7,
    inherited = CASE WHEN $5 IS NULL THEN s.inherited ELSE {opened} END
  FROM held h WHERE s.id = h.id AND h.token = $2 AND h.version = $3 AND h.commit_id = $4
    AND coalesce(h.outbox_step < $7, true)
)
SELECT CASE WHEN h.id IS NULL AND w.id IS NOT NULL THEN 2 WHEN h.token IS DISTINCT FROM $2 THEN 4
  WHEN h.version <> $3 OR h.commit_id <> $4 OR h.outbox_step >= $7 THEN 7 ELSE 0 END
FROM (SELECT) AS one LEFT JOIN held h ON true LEFT JOIN was w ON true";

const CLOSE_OUTBOX: &str = "\
WITH was AS MATERIALIZED (SELECT * FROM vault_session WHERE id = $1),
held AS MATERIALIZED (SELECT * FROM vault_session WHERE id = $1 FOR UPDATE SKIP LOCKED),
closed AS (
  UPDATE vault_session s SET outbox = NULL, outbox_step = $5,
    inherited = CASE WHEN $3 IS NULL THEN s.inherited ELSE {handed_on} END
  FROM held h WHERE s.id = h.id AND h.token = $2 AND coalesce(h.outbox_step < $5, true)
)
SELECT CASE WHEN h.id IS NULL AND w.id IS NOT NULL THEN 2 WHEN h.token IS DISTINCT FROM $2 THEN 4
  WHEN h.outbox_step >= $5 THEN 7 ELSE 0 END
FROM (SELECT) AS one LEFT JOIN held h ON true LEFT JOIN was w ON true";

const ABANDONED: &str = "\
WITH {clock}
SELECT s.id FROM clock, vault_session s LEFT JOIN vault_lease l ON l.id = s.lease
WHERE s.outbox IS NOT NULL AND (s.owner IS NULL OR s.lease_until <= clock.now AND (l.id IS NULL OR l.until <= clock.now))
LIMIT 1000";
