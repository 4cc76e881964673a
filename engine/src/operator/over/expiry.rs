//! Forgets rows behind a watermark: of the order column, what no later row can reach; of a partition column, whole partitions.
//!
//! A partition is looked at when the watermark passes its next row (and the longest frame in time behind it), so what stays
//! costs nothing. All rows stay that any further change can make the operator evaluate or look at, so the state needs no mark
//! that says which rows are final.

use std::ops::Range;

use arrow::array::Array;

use super::age::{Aged, Ages};
use super::partition::Touched;
use super::running::{Snapshot, after};
use super::{NO_SLOT, Over, Partition, batch_of, running};
use crate::error::Result;
use crate::operator::expiry::Due;
use crate::watermark::{Bound, NONE, of, ordinals};

/// The partitions by the watermark at which they are to be looked at.
#[derive(Debug)]
pub(super) struct OverExpiry {
    by: By,
    watermark: i64,
    due: Due,
}

#[derive(Debug)]
enum By {
    /// One of the partition columns.
    Partition(usize),
    Order(Ages),
}

impl Over {
    /// Takes note of the watermarks of the input; from the first on, partitions are kept by their time.
    pub(super) fn advance(&mut self, bounds: &[Bound]) -> Result<()> {
        if self.expiry.is_none() {
            let timed = self.spec.partition.iter().position(|column| of(bounds, *column).is_some());
            let ages = || Ages::of(&self.spec).filter(|ages| of(bounds, ages.column()).is_some());
            let Some(by) = timed.map(By::Partition).or_else(|| ages().map(By::Order)) else { return Ok(()) };
            self.sort();
            self.expiry = Some(OverExpiry { by, watermark: NONE, due: Due::default() });
            let all = self.keys.iter().collect::<Vec<_>>();
            self.look_later(&all)?;
        }
        let Some(expiry) = &mut self.expiry else { return Ok(()) };
        let column = match &expiry.by {
            By::Partition(column) => self.spec.partition[*column],
            By::Order(ages) => ages.column(),
        };
        expiry.watermark = of(bounds, column).unwrap_or(expiry.watermark).max(expiry.watermark);
        Ok(())
    }

    /// Keeps partitions by their oldest row, or by their own time.
    fn look_later(&mut self, partitions: &[u32]) -> Result<()> {
        let Some(expiry) = &mut self.expiry else { return Ok(()) };
        let times: Vec<Option<i64>> = match &expiry.by {
            By::Partition(column) => ordinals(&self.keys.keys().gather_column(*column, partitions)?)?.iter().collect(),
            By::Order(ages) => {
                let sorted = |key: &u32| self.partitions[*key as usize].sorted(&self.rows, &self.order);
                let oldest = |key: &u32| Some(Aged::new(ages, sorted(key)).oldest()?.saturating_add(ages.span()));
                partitions.iter().map(oldest).collect()
            }
        };
        for (partition, time) in partitions.iter().zip(times) {
            time.into_iter().for_each(|time| expiry.due.add(*partition, time));
        }
        Ok(())
    }

    /// Rows came or went, by partition and in order.
    pub(super) fn expire_later(&mut self, touched: &[Touched]) -> Result<()> {
        let Some(expiry) = &mut self.expiry else { return Ok(()) };
        let runs = || touched.chunk_by(|a, b| a.partition == b.partition).filter_map(|run| run.first().zip(run.last()));
        let times = match &expiry.by {
            By::Partition(column) => {
                let keys = runs().map(|(first, _)| first.partition).collect::<Vec<_>>();
                self.keys.keys().gather_column(*column, &keys)?
            }
            By::Order(ages) => {
                let oldest = runs().map(|(first, last)| if ages.newest_first() { last.slot } else { first.slot });
                self.rows.gather_column(ages.column(), &oldest.collect::<Vec<_>>())?
            }
        };
        let span = if let By::Order(ages) = &expiry.by { ages.span() } else { 0 };
        for ((first, _), time) in runs().zip(&ordinals(&times)?) {
            time.into_iter().for_each(|time| expiry.due.add(first.partition, time.saturating_add(span)));
        }
        Ok(())
    }

    /// Forgets what the watermark has passed.
    pub(super) fn expire(&mut self) -> Result<()> {
        let Some(mut expiry) = self.expiry.take() else { return Ok(()) };
        let result = self.expire_by(&mut expiry);
        self.expiry = Some(expiry);
        result
    }

    fn expire_by(&mut self, expiry: &mut OverExpiry) -> Result<()> {
        let watermark = expiry.watermark;
        let mut due = expiry.due.take(watermark);
        // The place of a partition that is gone may be that of another one now, or of none.
        due.retain(|key| !self.partitions[*key as usize].is_unused());
        let times = match &expiry.by {
            By::Partition(column) => Some(ordinals(&self.keys.keys().gather_column(*column, &due)?)?),
            By::Order(_) => None,
        };
        for (place, key) in due.into_iter().enumerate() {
            let partition = &self.partitions[key as usize];
            let (gone, next) = match (&expiry.by, &times) {
                (By::Order(ages), _) => {
                    let aged = Aged::new(ages, partition.sorted(&self.rows, &self.order));
                    let (places, next) = (aged.places(aged.passed(watermark)), aged.due(watermark));
                    (self.cut(key, places)?, next)
                }
                (_, Some(times)) if times.is_valid(place) && times.value(place) < watermark => {
                    self.bases.iter_mut().for_each(|bases| bases.remove(key));
                    (std::mem::take(&mut self.partitions[key as usize]).slots, None)
                }
                (_, times) => (vec![], times.as_ref().filter(|times| times.is_valid(place)).map(|t| t.value(place))),
            };
            for slot in gone {
                self.results.free(std::mem::replace(&mut self.result_of[slot as usize], NO_SLOT));
                self.ledger.remove(slot);
                self.rows.free(slot);
            }
            next.into_iter().for_each(|next| expiry.due.add(key, next));
            self.remove_unused(key);
        }
        Ok(())
    }

    /// Takes rows out of a partition. Running aggregates keep what they hold of the rows up to there.
    fn cut(&mut self, key: u32, places: Range<usize>) -> Result<Vec<u32>> {
        let calls = running(&self.spec);
        if let Some(bases) = self.bases.as_mut().filter(|_| !places.is_empty()) {
            let partition = &self.partitions[key as usize];
            let noted = partition.snapshots.partition_point(|snapshot| snapshot.at <= places.end);
            let from = partition.snapshots[..noted].last().or(partition.base.as_ref());
            let start = from.map_or(0, |snapshot| snapshot.at);
            let batch = batch_of(&self.spec, &self.rows, &partition.slots[start..places.end])?;
            let calls = calls.iter().map(|call| &self.spec.calls[*call]).collect::<Vec<_>>();
            let base = Snapshot::new(places.start, after(&calls, from, &batch)?);
            let partition = &mut self.partitions[key as usize];
            partition.base = Some(base);
            partition.snapshots.drain(..noted);
            partition.snapshots.iter_mut().for_each(|snapshot| snapshot.at -= places.len());
            bases.change(key, &self.keys);
        }
        Ok(self.partitions[key as usize].slots.drain(places).collect())
    }

    /// Forgets a partition of which nothing is left.
    pub(super) fn remove_unused(&mut self, key: u32) {
        if self.partitions[key as usize].is_unused() {
            self.partitions[key as usize] = Partition::default();
            self.keys.remove(key);
        }
    }
}
