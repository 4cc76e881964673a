//! Leases: who may take one is a pure decision; the table holds one row per lease that was not given back.

use super::commit::draw;
use super::database::Connection;
use super::fault::Fault;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Lease;

/// A wish for a lease; see [`crate::Catalog::acquire_lease`].
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub name: &'a str,
    pub owner: &'a str,
    pub dead_owner: Option<&'a str>,
    pub now_ms: i64,
    pub expires_ms: i64,
}

impl Request<'_> {
    /// The same by a clock that is so far ahead.
    pub fn later(self, ms: i64) -> Self {
        let (now_ms, expires_ms) = (self.now_ms.saturating_add(ms), self.expires_ms.saturating_add(ms));
        Self { now_ms, expires_ms, ..self }
    }
}

impl Lease {
    /// The same by a clock that is so far ahead.
    pub(super) fn later(self, ms: i64) -> Self {
        Self { expires_ms: self.expires_ms.saturating_add(ms), ..self }
    }
}

/// The time of a PostgreSQL server, in ms since the Unix epoch.
pub async fn server_ms(conn: &mut Connection<'_>) -> Result<i64, Fault> {
    let sql = "SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)";
    match conn.row(sql, &[]).await? {
        Some(row) => row.get(0),
        None => Err(Fault::Sql(sqlx::Error::RowNotFound)),
    }
}

/// Refuses if another, living owner holds the lease.
fn may_take(request: &Request<'_>, present: Option<&Lease>) -> Result<()> {
    let Some(present) = present else { return Ok(()) };
    let lapsed = present.expires_ms <= request.now_ms;
    let own = present.owner == request.owner;
    let dead = request.dead_owner == Some(present.owner.as_str());
    if lapsed || own || dead {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Fenced,
        format!("the lease is held by {}; wait until it lapses or stop that one", present.owner),
    )
    .with("lease", request.name)
    .with("lapses in ms", present.expires_ms.saturating_sub(request.now_ms)))
}

/// The row of a lease, lapsed or not.
pub async fn held(conn: &mut Connection<'_>, name: &str) -> Result<Option<Lease>, Fault> {
    let row = conn.row("SELECT owner, token, expires_ms FROM frazil_leases WHERE name = $1", &[name.into()]).await?;
    let Some(row) = row else { return Ok(None) };
    let token = row.get::<i64>(1)?.unsigned_abs();
    Ok(Some(Lease { name: name.to_owned(), owner: row.get(0)?, token, expires_ms: row.get(2)? }))
}

/// Takes a lease under a fresh token.
pub async fn acquire(conn: &mut Connection<'_>, request: Request<'_>) -> Result<Lease, Fault> {
    may_take(&request, held(conn, request.name).await?.as_ref())?;
    let token = draw(conn, "next_token", 1).await?;
    let sql = "INSERT INTO frazil_leases (name, owner, token, expires_ms) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (name) DO UPDATE SET \
               owner = excluded.owner, token = excluded.token, expires_ms = excluded.expires_ms";
    let values = [request.name.into(), request.owner.into(), token.into(), request.expires_ms.into()];
    conn.execute(sql, &values).await?;
    Ok(Lease {
        name: request.name.to_owned(),
        owner: request.owner.to_owned(),
        token: token.unsigned_abs(),
        expires_ms: request.expires_ms,
    })
}

/// Prolongs every lease, or fails and leaves it to the caller to roll back. One that lapsed but that nobody else took
/// is still its holder's.
pub async fn renew(conn: &mut Connection<'_>, leases: &[Lease], expires_ms: i64) -> Result<(), Fault> {
    for lease in leases {
        let sql = "UPDATE frazil_leases SET expires_ms = $1 WHERE name = $2 AND owner = $3 AND token = $4";
        let values = [expires_ms.into(), (&lease.name).into(), (&lease.owner).into(), token(lease).into()];
        if conn.execute(sql, &values).await? == 0 {
            let present = held(conn, &lease.name).await?;
            return Err(lost(lease, present.as_ref()).into());
        }
    }
    Ok(())
}

/// Gives leases back; those that are no longer held are passed over.
pub async fn release(conn: &mut Connection<'_>, leases: &[Lease]) -> Result<(), Fault> {
    for lease in leases {
        let sql = "DELETE FROM frazil_leases WHERE name = $1 AND owner = $2 AND token = $3";
        conn.execute(sql, &[(&lease.name).into(), (&lease.owner).into(), token(lease).into()]).await?;
    }
    Ok(())
}

fn lost(lease: &Lease, present: Option<&Lease>) -> Error {
    let message = match present {
        Some(present) => format!("the lease was taken over by {}; stop what it allowed", present.owner),
        None => "the lease was given back; acquire it again".to_owned(),
    };
    Error::new(ErrorKind::Fenced, message).with("lease", &lease.name).with("token", lease.token)
}

/// Tokens are handed out as positive `i64`: one that is not was never handed out, and matches no row.
fn token(lease: &Lease) -> i64 {
    i64::try_from(lease.token).unwrap_or(-1)
}
