//! The order in which the rows of a group stand: what ORDER BY inside a call says, over columns of a row store.

use std::cmp::{Ordering, Reverse};

use arrow::compute::SortOptions;

use crate::rows::{OrderKey, RowStore, RowView};

/// Columns of a row store, the first being decisive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    columns: Vec<(usize, SortOptions)>,
}

/// A value that orders by itself as its column's options say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ranked {
    NullFirst,
    Ascending(OrderKey),
    Descending(Reverse<OrderKey>),
    NullLast,
}

/// Ascending, NULL last.
pub(super) const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: false };

fn nulls(left: bool, right: bool, options: SortOptions) -> Option<Ordering> {
    match (left, right) {
        (false, false) => None,
        (left, right) if options.nulls_first => Some(right.cmp(&left)),
        (left, right) => Some(left.cmp(&right)),
    }
}

fn directed(ordering: Ordering, options: SortOptions) -> Ordering {
    if options.descending { ordering.reverse() } else { ordering }
}

impl Order {
    pub(super) fn new(columns: Vec<(usize, SortOptions)>) -> Self {
        Self { columns }
    }

    /// The same order over columns that stand further behind.
    pub(super) fn moved(&self, by: usize) -> Self {
        Self { columns: self.columns.iter().map(|(column, options)| (column + by, *options)).collect() }
    }

    /// Compares two stored rows.
    pub(super) fn cmp(&self, store: &RowStore, left: u32, right: u32) -> Ordering {
        let by = |(column, options): &(usize, SortOptions)| {
            let null = |slot| store.is_null(*column, slot);
            nulls(null(left), null(right), *options)
                .unwrap_or_else(|| directed(store.cmp(*column, left, right), *options))
        };
        self.columns.iter().map(by).find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Compares a row of a batch with a stored row.
    pub(super) fn cmp_row(&self, store: &RowStore, view: &RowView, row: usize, slot: u32) -> Ordering {
        let by = |(column, options): &(usize, SortOptions)| {
            nulls(view.is_null(*column, row), store.is_null(*column, slot), *options)
                .unwrap_or_else(|| directed(store.cmp_row(*column, slot, view, row).reverse(), *options))
        };
        self.columns.iter().map(by).find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// A stored row's place in the order.
    pub(super) fn key(&self, store: &RowStore, slot: u32) -> Vec<Ranked> {
        let key = |(column, options): &(usize, SortOptions)| match store.order_key(*column, slot) {
            OrderKey::Null if options.nulls_first => Ranked::NullFirst,
            OrderKey::Null => Ranked::NullLast,
            key if options.descending => Ranked::Descending(Reverse(key)),
            key => Ranked::Ascending(key),
        };
        self.columns.iter().map(key).collect()
    }
}
