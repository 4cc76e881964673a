//! Routes changes between the slots of a pipeline: by vnode, to a single slot, to all, or not at all.

use std::sync::Arc;

use arrow::array::UInt32Array;
use crossbeam_channel::Sender;

use crate::change::Changes;
use crate::error::Result;
use crate::hash::{VNODES, hash_columns, vnode};
use crate::plan::Route;
use crate::runtime::slot::{Delivery, ToSlot};

/// The slot that owns a vnode: slots own equal, contiguous ranges.
pub fn owner(vnode: u8, slots: usize) -> usize {
    usize::from(vnode) * slots / VNODES
}

/// The way to the slots of another process.
pub trait Link: Send + Sync {
    /// Sends to a slot there. Never waits; what is sent to one slot arrives in the order in which it was sent, or the link is reported
    /// as broken.
    fn send(&self, slot: usize, delivery: Delivery);

    /// Whether so many bytes wait here to be sent that nobody should read more input.
    fn is_full(&self) -> bool;
}

/// A slot as the others of its pipeline reach it.
#[derive(Clone)]
pub enum Peer {
    /// It is in this process.
    Here(Sender<ToSlot>),
    /// It is in another one.
    There(Arc<dyn Link>),
}

/// One slot's connections to all slots.
pub struct Exchange {
    own: usize,
    peers: Vec<Peer>,
    hashes: Vec<u64>,
}

impl Exchange {
    /// Connections of slot `own`.
    pub fn new(own: usize, peers: Vec<Peer>) -> Self {
        Self { own, peers, hashes: Vec::new() }
    }

    /// Sends to another slot. A slot that is gone is not an error: the pipeline is about to be told why.
    pub fn send(&self, slot: usize, delivery: Delivery) {
        match &self.peers[slot] {
            Peer::Here(inbox) => {
                let _ = inbox.send(ToSlot::Deliver(delivery));
            }
            Peer::There(link) => link.send(slot, delivery),
        }
    }

    /// Whether receivers in other processes are so far behind that no more input should be read.
    pub fn is_full(&self) -> bool {
        self.peers.iter().any(|peer| matches!(peer, Peer::There(link) if link.is_full()))
    }

    /// Sends to all slots but this one.
    pub fn to_others(&self, delivery: impl Fn() -> Delivery) {
        for slot in (0..self.peers.len()).filter(|slot| *slot != self.own) {
            self.send(slot, delivery());
        }
    }

    /// Splits changes by the slot they go to.
    pub fn route(&mut self, route: &Route, changes: &Changes) -> Result<Vec<(usize, Changes)>> {
        let slots = self.peers.len();
        match route {
            Route::Local => Ok(vec![(self.own, changes.clone())]),
            Route::Single => Ok(vec![(0, changes.clone())]),
            Route::Broadcast => Ok((0..slots).map(|slot| (slot, changes.clone())).collect()),
            Route::Hash(_) if slots == 1 => Ok(vec![(0, changes.clone())]),
            Route::Hash(columns) => {
                let keys: Vec<_> = columns.iter().map(|c| changes.rows().column(*c).clone()).collect();
                hash_columns(&keys, changes.len(), &mut self.hashes)?;
                let mut rows = vec![Vec::with_capacity(changes.len() / slots * 5 / 4 + 8); slots];
                for (row, hash) in self.hashes.iter().enumerate() {
                    rows[owner(vnode(*hash), slots)].push(row as u32);
                }
                let mut routed = Vec::with_capacity(slots);
                for (slot, rows) in rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
                    let part = match rows.len() == changes.len() {
                        true => changes.clone(),
                        false => changes.take(&UInt32Array::from(rows))?,
                    };
                    routed.push((slot, part));
                }
                Ok(routed)
            }
        }
    }
}
