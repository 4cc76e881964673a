//! One partition's rows in order, and what an epoch changes in its visible part.

use super::Rank;
use crate::operator::order::RowOrder;
use crate::rows::{NO_SLOT, RowStore};

/// What is known of a row beside its columns.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Record {
    /// How often the row is there.
    pub weight: i64,
    /// How often it was there before the epoch, if it is touched.
    pub before: i64,
    pub partition: u32,
    /// It changed in this epoch.
    pub touched: bool,
}

/// The visible positions of a partition, from 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    start: i64,
    /// The first position that is not visible.
    pub end: i64,
}

impl Window {
    pub(super) fn new(offset: usize, limit: Option<usize>) -> Self {
        let start = i64::try_from(offset).unwrap_or(i64::MAX);
        let limit = limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
        Self { start, end: limit.map_or(i64::MAX, |limit| start.saturating_add(limit)) }
    }

    fn shows(&self, position: i64) -> bool {
        (self.start..self.end).contains(&position)
    }

    /// The visible part of `count` positions from `from`.
    fn cut(&self, from: i64, count: i64) -> (i64, i64) {
        let start = from.max(self.start);
        (start, (from + count).min(self.end).max(start))
    }
}

/// Rows that appear and disappear.
#[derive(Debug, Default)]
pub(super) struct Visible {
    pub slots: Vec<u32>,
    pub weights: Vec<i64>,
    /// Row numbers, where they are shown.
    pub ranks: Vec<u64>,
    /// Rows looked at: what tests count.
    #[cfg(test)]
    pub walked: usize,
}

impl Visible {
    fn looked_at_one(&mut self) {
        #[cfg(test)]
        {
            self.walked += 1;
        }
    }

    /// A row that stood at some visible positions stands at others.
    fn moved(&mut self, slot: u32, before: (i64, i64), now: (i64, i64), rank: Rank) {
        if rank == Rank::None {
            let change = (now.1 - now.0) - (before.1 - before.0);
            if change != 0 {
                self.slots.push(slot);
                self.weights.push(change);
            }
            return;
        }
        self.ranked(slot, before, now, -1);
        self.ranked(slot, now, before, 1);
    }

    /// A row that was there `before.1` times at rank `before.0` is now there so often at another rank, ranks from 0.
    fn reranked(&mut self, slot: u32, before: (i64, i64), now: (i64, i64), window: Window) {
        let copies = |(rank, copies): (i64, i64)| if window.shows(rank) { copies } else { 0 };
        let (was, is) = (copies(before), copies(now));
        let changes = if before.0 == now.0 { [(before.0, is - was), (0, 0)] } else { [(before.0, -was), (now.0, is)] };
        for (rank, weight) in changes.into_iter().filter(|(_, weight)| *weight != 0) {
            self.slots.push(slot);
            self.weights.push(weight);
            self.ranks.push(rank.unsigned_abs() + 1);
        }
    }

    /// Positions that are in one range and not in the other.
    fn ranked(&mut self, slot: u32, positions: (i64, i64), but: (i64, i64), weight: i64) {
        for position in (positions.0..positions.1).filter(|position| !(but.0..but.1).contains(position)) {
            self.slots.push(slot);
            self.weights.push(weight);
            self.ranks.push(position.unsigned_abs() + 1);
        }
    }
}

/// The rows of a partition in order.
#[derive(Debug, Default)]
pub(super) struct Partition {
    slots: Vec<u32>,
    /// Sum of their weights after the last epoch.
    copies: i64,
}

impl Partition {
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Takes all rows out.
    pub(super) fn take(&mut self) -> Vec<u32> {
        self.copies = 0;
        std::mem::take(&mut self.slots)
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.copies = 0;
    }

    /// Adds a row out of order; to be sorted later.
    pub(super) fn push(&mut self, slot: u32, weight: i64) {
        self.slots.push(slot);
        self.copies += weight;
    }

    pub(super) fn sort(&mut self, order: &RowOrder, rows: &RowStore) {
        self.slots.sort_unstable_by(|a, b| order.compare(rows, *a, *b));
    }

    /// The last row, if the window is full without anything more. Dense ranks do not count rows.
    pub(super) fn last(&self, window: &Window, rank: Rank) -> u32 {
        if rank == Rank::DenseRank || self.copies < window.end {
            NO_SLOT
        } else {
            self.slots.last().copied().unwrap_or(NO_SLOT)
        }
    }
}

/// Applies an epoch's changes to partitions. A run: the touched rows of one partition, in order.
pub(super) struct Merge<'a> {
    pub order: &'a RowOrder,
    pub rows: &'a RowStore,
    pub records: &'a [Record],
}

impl Merge<'_> {
    /// Position of a row, or where it would stand, not before `from`.
    fn position(&self, slots: &[u32], slot: u32, from: usize) -> usize {
        from + slots[from..].partition_point(|other| self.order.compare(self.rows, *other, slot).is_lt())
    }

    /// Puts the new rows of a run in their places.
    pub(super) fn insert(&mut self, partition: &mut Partition, run: &[u32]) {
        let slots = &mut partition.slots;
        let mut places = Vec::new();
        let mut from = 0;
        for slot in run.iter().filter(|slot| self.records[**slot as usize].before == 0) {
            from = self.position(slots, *slot, from);
            places.push((from, *slot));
        }
        let mut end = slots.len();
        slots.resize(end + places.len(), NO_SLOT);
        // From the back, so that every row moves once.
        for (shift, (place, slot)) in places.into_iter().enumerate().rev() {
            slots.copy_within(place..end, place + shift + 1);
            slots[place + shift] = slot;
            end = place;
        }
    }

    /// Compares every row's visible positions before and now. New rows are merged, gone ones are still there.
    pub(super) fn walk(&self, partition: &Partition, run: &[u32], window: Window, rank: Rank, visible: &mut Visible) {
        let slots = &partition.slots;
        let new = run.iter().filter(|slot| self.records[**slot as usize].before == 0).count();
        let all_single = partition.copies == (slots.len() - new) as i64;
        // Before the first touched row nothing moves, and if no row is there twice, its position is its place.
        let start = if all_single { self.position(slots, run[0], 0) } else { 0 };
        let (mut before, mut now) = (start as i64, start as i64);
        let mut to_come = run.len();
        for slot in &slots[start..] {
            if before >= window.end && now >= window.end || to_come == 0 && before == now {
                break;
            }
            visible.looked_at_one();
            let record = &self.records[*slot as usize];
            let was = if record.touched { record.before } else { record.weight };
            to_come -= usize::from(record.touched);
            visible.moved(*slot, window.cut(before, was), window.cut(now, record.weight), rank);
            before += was;
            now += record.weight;
        }
    }

    /// As [`Merge::walk`] for ranks, which peers share.
    pub(super) fn walk_ranks(
        &self,
        partition: &Partition,
        run: &[u32],
        window: Window,
        rank: Rank,
        visible: &mut Visible,
    ) {
        let (mut before, mut now) = (0, 0);
        let mut to_come = run.len();
        for peers in partition.slots.chunk_by(|a, b| self.order.compare_peers(self.rows, *a, *b).is_eq()) {
            if before >= window.end && now >= window.end || to_come == 0 && before == now {
                break;
            }
            let (mut all_before, mut all_now) = (0, 0);
            for slot in peers {
                visible.looked_at_one();
                let record = &self.records[*slot as usize];
                let was = if record.touched { record.before } else { record.weight };
                to_come -= usize::from(record.touched);
                visible.reranked(*slot, (before, was), (now, record.weight), window);
                all_before += was;
                all_now += record.weight;
            }
            let step = |copies: i64| if rank == Rank::DenseRank { i64::from(copies > 0) } else { copies };
            before += step(all_before);
            now += step(all_now);
        }
    }

    /// Takes out rows of weight 0 and, if only the first `keep` positions are needed, all behind them.
    pub(super) fn remove(
        &self,
        partition: &mut Partition,
        run: &[u32],
        keep: Option<i64>,
        rank: Rank,
        gone: &mut Vec<u32>,
    ) {
        for slot in run {
            let record = &self.records[*slot as usize];
            partition.copies += record.weight - record.before;
        }
        let slots = &mut partition.slots;
        let dead = run.iter().filter(|slot| self.records[**slot as usize].weight == 0);
        let mut places = Vec::new();
        let mut from = 0;
        for slot in dead {
            from = self.position(slots, *slot, from);
            places.push(from);
            gone.push(*slot);
        }
        if let Some(first) = places.first() {
            let mut to = *first;
            for (index, place) in places.iter().enumerate() {
                let end = places.get(index + 1).copied().unwrap_or(slots.len());
                slots.copy_within(place + 1..end, to);
                to += end - place - 1;
            }
            slots.truncate(to);
        }
        match (keep, rank) {
            (None, _) => {}
            (Some(keep), Rank::None | Rank::RowNumber) => self.keep_rows(partition, keep, gone),
            (Some(keep), Rank::Rank | Rank::DenseRank) => self.keep_ranks(partition, keep, rank, gone),
        }
    }

    /// Drops rows that are not needed for the first `keep` positions.
    fn keep_rows(&self, partition: &mut Partition, keep: i64, gone: &mut Vec<u32>) {
        while let Some(last) = partition.slots.last() {
            let weight = self.records[*last as usize].weight;
            if partition.copies - weight < keep {
                break;
            }
            partition.copies -= weight;
            gone.extend(partition.slots.pop());
        }
    }

    /// Drops rows whose rank, counted from 0, is `keep` or more.
    fn keep_ranks(&self, partition: &mut Partition, keep: i64, rank: Rank, gone: &mut Vec<u32>) {
        let (mut before, mut copies, mut kept) = (0, 0, 0);
        for peers in partition.slots.chunk_by(|a, b| self.order.compare_peers(self.rows, *a, *b).is_eq()) {
            if before >= keep {
                break;
            }
            let weight = peers.iter().map(|slot| self.records[*slot as usize].weight).sum::<i64>();
            before += if rank == Rank::DenseRank { 1 } else { weight };
            copies += weight;
            kept += peers.len();
        }
        gone.extend(partition.slots.drain(kept..));
        partition.copies = copies;
    }
}
