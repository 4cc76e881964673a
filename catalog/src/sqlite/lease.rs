//! Leases: who may take one is a pure decision; the table holds one row per lease that was not given back.

use sqlx::{Row, SqliteConnection};

use super::commit::draw;
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
pub async fn held(conn: &mut SqliteConnection, name: &str) -> Result<Option<Lease>, Fault> {
    let row = sqlx::query("SELECT owner, token, expires_ms FROM frazil_leases WHERE name = ?")
        .bind(name)
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let token: i64 = row.try_get(1)?;
    let lease = Lease {
        name: name.to_owned(),
        owner: row.try_get(0)?,
        token: token.unsigned_abs(),
        expires_ms: row.try_get(2)?,
    };
    Ok(Some(lease))
}

/// Takes a lease under a fresh token.
pub async fn acquire(conn: &mut SqliteConnection, request: Request<'_>) -> Result<Lease, Fault> {
    may_take(&request, held(conn, request.name).await?.as_ref())?;
    let token = draw(conn, "next_token", 1).await?;
    sqlx::query("INSERT OR REPLACE INTO frazil_leases (name, owner, token, expires_ms) VALUES (?, ?, ?, ?)")
        .bind(request.name)
        .bind(request.owner)
        .bind(token)
        .bind(request.expires_ms)
        .execute(conn)
        .await?;
    Ok(Lease {
        name: request.name.to_owned(),
        owner: request.owner.to_owned(),
        token: token.unsigned_abs(),
        expires_ms: request.expires_ms,
    })
}

/// Prolongs every lease, or fails and leaves it to the caller to roll back. One that lapsed but that nobody else took
/// is still its holder's.
pub async fn renew(conn: &mut SqliteConnection, leases: &[Lease], expires_ms: i64) -> Result<(), Fault> {
    for lease in leases {
        let renewed = sqlx::query("UPDATE frazil_leases SET expires_ms = ? WHERE name = ? AND owner = ? AND token = ?")
            .bind(expires_ms)
            .bind(&lease.name)
            .bind(&lease.owner)
            .bind(token(lease))
            .execute(&mut *conn)
            .await?;
        if renewed.rows_affected() == 0 {
            let present = held(conn, &lease.name).await?;
            return Err(lost(lease, present.as_ref()).into());
        }
    }
    Ok(())
}

/// Gives leases back; those that are no longer held are passed over.
pub async fn release(conn: &mut SqliteConnection, leases: &[Lease]) -> Result<(), Fault> {
    for lease in leases {
        sqlx::query("DELETE FROM frazil_leases WHERE name = ? AND owner = ? AND token = ?")
            .bind(&lease.name)
            .bind(&lease.owner)
            .bind(token(lease))
            .execute(&mut *conn)
            .await?;
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
