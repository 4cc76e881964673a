//! Leadership: of the coordinators of a warehouse one leads, the one that holds a lease in its catalog.
//!
//! What fences a coordinator that was deposed without noticing are the leases of the jobs: whoever leads takes them over, and
//! nothing is committed for a job under an old token.

use std::sync::Arc;
use std::time::Duration;

use catalog::{Catalog, Clock, ErrorKind as CatalogErrorKind, Lease};

use crate::error::{Error, ErrorKind, Result};

/// The lease that the leader holds.
const LEASE: &str = "coordinator";

/// Who wants to lead, and what it needs for that.
pub struct Candidate {
    /// Where the lease is.
    pub catalog: Arc<dyn Catalog>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The name under which it holds leases.
    pub owner: String,
    /// How long the lease lasts unless it is renewed.
    pub ttl: Duration,
}

/// The right to lead.
#[derive(Debug, Clone)]
pub struct Leadership {
    /// The lease.
    pub lease: Lease,
    /// Who led before and did not give the lease back. It is dead, or does not lead any more, which is all the same to the leases
    /// that it holds.
    pub deposed: Option<String>,
}

impl Candidate {
    /// Waits until nobody else leads. `is_dead`: whether a holder of leases is known to be dead, so that nobody has to wait for them.
    ///
    /// # Errors
    /// If the catalog is damaged or was written by another version. One that does not answer is asked again.
    pub async fn lead(&self, is_dead: impl Fn(&str) -> bool) -> Result<Leadership> {
        let mut waiting = false;
        loop {
            match self.attempt(&is_dead).await {
                Ok(leadership) => return Ok(leadership),
                Err(error) if error.kind() == ErrorKind::Fenced => {
                    if !std::mem::replace(&mut waiting, true) {
                        tracing::info!("another coordinator leads; standing by");
                    }
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => tracing::warn!(%error, "standing by"),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(self.ttl / 10).await;
        }
    }

    async fn attempt(&self, is_dead: &impl Fn(&str) -> bool) -> Result<Leadership> {
        // One that lapsed is of interest, too: whoever held it may hold others that have not.
        let last = self.catalog.lease(LEASE, i64::MIN).await?.map(|lease| lease.owner);
        let dead = last.as_deref().filter(|owner| is_dead(owner));
        let lease = self.catalog.acquire_lease(LEASE, &self.owner, dead, self.clock.now_ms(), self.ttl_ms()).await?;
        Ok(Leadership { lease, deposed: last.filter(|owner| *owner != self.owner) })
    }

    /// Renews the lease as long as that is possible. Gives the reason why it is not any more: from then on another one may lead.
    pub async fn keep(&self, lease: &Lease) -> Error {
        let lost =
            |error: Error| Error::new(ErrorKind::Fenced, "this coordinator does not lead any more").because(error);
        let mut renewed = self.clock.monotonic();
        loop {
            tokio::time::sleep(self.ttl / 4).await;
            let before = self.clock.monotonic();
            let result =
                self.catalog.renew_leases(std::slice::from_ref(lease), self.clock.now_ms(), self.ttl_ms()).await;
            match result {
                Ok(()) => renewed = before,
                Err(error) if error.kind() == CatalogErrorKind::Fenced => return lost(error.into()),
                Err(error) if self.clock.monotonic().saturating_sub(renewed) >= self.ttl => return lost(error.into()),
                Err(error) => tracing::warn!(%error, "the leader's lease could not be renewed; trying again"),
            }
        }
    }

    fn ttl_ms(&self) -> i64 {
        i64::try_from(self.ttl.as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use catalog::{ManualClock, SqlCatalog};

    use super::*;

    fn candidate(catalog: &Arc<dyn Catalog>, clock: &Arc<ManualClock>, owner: &str) -> Candidate {
        let ttl = Duration::from_millis(40);
        Candidate { catalog: catalog.clone(), clock: clock.clone(), owner: owner.into(), ttl }
    }

    #[tokio::test]
    async fn one_leads_and_the_next_one_knows_whom_it_has_deposed() {
        let catalog: Arc<dyn Catalog> = Arc::new(SqlCatalog::in_memory().await.unwrap());
        let clock = Arc::new(ManualClock::new(1_000, 1));
        let (first, second) = (candidate(&catalog, &clock, "first"), candidate(&catalog, &clock, "second"));
        let leads = first.lead(|_| false).await.unwrap();
        assert_eq!(leads.deposed, None);
        let alive = |_: &str| false;
        assert!(tokio::time::timeout(Duration::from_millis(50), second.lead(alive)).await.is_err());
        // The first one is not heard of any more.
        clock.advance(Duration::from_millis(40));
        let next = second.lead(alive).await.unwrap();
        assert_eq!(next.deposed.as_deref(), Some("first"));
        let told = first.keep(&leads.lease).await;
        assert_eq!(told.kind(), ErrorKind::Fenced);
        // One that is known to be dead is not waited for.
        let third = candidate(&catalog, &clock, "third");
        assert_eq!(third.lead(|owner| owner == "second").await.unwrap().deposed.as_deref(), Some("second"));
    }
}
