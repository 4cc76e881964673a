//! Strings and binaries of a row store: 16-byte views, short values inside the view, long ones in an arena of blocks.
//!
//! The views have the layout of Arrow's string views (length, prefix or value, block, offset), so that a short value is
//! gathered into a Utf8View array by copying 16 bytes. Freed long values leave garbage in the blocks; when more than
//! half is garbage the living values are copied to new blocks, which costs each freed byte a bounded share.

const INLINE: usize = 12;
const FIRST_BLOCK: usize = 1 << 12;
const MAX_BLOCK: usize = 1 << 20;
/// Less garbage than this is never worth a compaction.
const MIN_GARBAGE: usize = 1 << 14;

/// A growable column of byte strings.
#[derive(Debug, Default)]
pub(super) struct ByteColumn {
    views: Vec<[u8; 16]>,
    blocks: Vec<Vec<u8>>,
    /// Bytes of long values in the blocks, dead ones included.
    used: usize,
    garbage: usize,
}

fn len_of(view: &[u8; 16]) -> usize {
    u32::from_le_bytes([view[0], view[1], view[2], view[3]]) as usize
}

/// The view of a short value.
fn inline(value: &[u8]) -> [u8; 16] {
    let mut view = [0; 16];
    view[..4].copy_from_slice(&(value.len() as u32).to_le_bytes());
    view[4..4 + value.len()].copy_from_slice(value);
    view
}

fn long(value: &[u8], block: usize, offset: usize) -> [u8; 16] {
    let mut view = [0; 16];
    view[..4].copy_from_slice(&(value.len() as u32).to_le_bytes());
    view[4..8].copy_from_slice(&value[..4]);
    view[8..12].copy_from_slice(&(block as u32).to_le_bytes());
    view[12..].copy_from_slice(&(offset as u32).to_le_bytes());
    view
}

impl ByteColumn {
    /// The value in a slot; empty where nothing was written.
    #[inline]
    pub(super) fn get(&self, slot: u32) -> &[u8] {
        self.views.get(slot as usize).map_or(&[], |view| self.resolve(view))
    }

    #[inline]
    fn resolve<'a>(&'a self, view: &'a [u8; 16]) -> &'a [u8] {
        let len = len_of(view);
        if len <= INLINE {
            return &view[4..4 + len];
        }
        let block = u32::from_le_bytes([view[8], view[9], view[10], view[11]]) as usize;
        let offset = u32::from_le_bytes([view[12], view[13], view[14], view[15]]) as usize;
        &self.blocks[block][offset..offset + len]
    }

    /// Whether the value in a slot is `value`.
    #[inline]
    pub(super) fn eq(&self, slot: u32, value: &[u8]) -> bool {
        self.views.get(slot as usize).is_some_and(|view| len_of(view) == value.len() && self.resolve(view) == value)
    }

    /// Puts a value into a slot that is new or cleared.
    pub(super) fn set(&mut self, slot: u32, value: &[u8]) {
        let slot = slot as usize;
        if slot >= self.views.len() {
            self.views.resize(slot + 1, [0; 16]);
        }
        self.views[slot] = if value.len() <= INLINE { inline(value) } else { self.store(value) };
    }

    fn store(&mut self, value: &[u8]) -> [u8; 16] {
        let fits = self.blocks.last().is_some_and(|block| block.capacity() - block.len() >= value.len());
        if !fits {
            let grown = self.blocks.last().map_or(FIRST_BLOCK, |block| (block.capacity() * 2).min(MAX_BLOCK));
            self.blocks.push(Vec::with_capacity(grown.max(value.len())));
        }
        let block = self.blocks.len() - 1;
        let offset = self.blocks[block].len();
        self.blocks[block].extend_from_slice(value);
        self.used += value.len();
        long(value, block, offset)
    }

    /// Forgets the value in a slot.
    pub(super) fn clear(&mut self, slot: u32) {
        let Some(view) = self.views.get_mut(slot as usize) else { return };
        let len = len_of(view);
        *view = [0; 16];
        if len > INLINE {
            self.garbage += len;
            if self.garbage == self.used {
                self.blocks.clear();
                (self.used, self.garbage) = (0, 0);
            } else if self.garbage > MIN_GARBAGE && self.garbage * 2 > self.used {
                self.compact();
            }
        }
    }

    fn compact(&mut self) {
        let mut fresh = Self { views: std::mem::take(&mut self.views), ..Self::default() };
        for at in 0..fresh.views.len() {
            let view = fresh.views[at];
            if len_of(&view) > INLINE {
                fresh.views[at] = fresh.store(self.resolve(&view));
            }
        }
        *self = fresh;
    }

    /// The views and data buffers of an Arrow view array with the values of the given slots.
    pub(super) fn gather_views(&self, slots: &[u32]) -> (Vec<u128>, Vec<Vec<u8>>) {
        let mut out = Self { views: Vec::new(), ..Self::default() };
        let mut views = Vec::with_capacity(slots.len());
        for slot in slots {
            let view = self.views.get(*slot as usize).copied().unwrap_or_default();
            let view = if len_of(&view) <= INLINE { view } else { out.store(self.resolve(&view)) };
            views.push(u128::from_le_bytes(view));
        }
        (views, out.blocks)
    }

    /// Estimate of the memory held.
    pub(super) fn bytes(&self) -> usize {
        self.views.capacity() * 16 + self.blocks.iter().map(Vec::capacity).sum::<usize>()
    }
}
