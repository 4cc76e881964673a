//! Where a join's columns come from: which are kept, in which order, and how output rows are gathered from the state.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::datatypes::{FieldRef, SchemaRef};

use super::side::Side;
use super::{JoinKind, JoinSpec};
use crate::change::Changes;
use crate::error::{Error, Result};
use crate::operator::columns::{self, encoded_as};
use crate::rows::KeyIndex;

/// Where a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A column of the join key: kept once for both sides.
    Key { side: usize, column: usize },
    /// A kept column of a side that is not part of the key.
    Rest { side: usize, column: usize },
    /// The truth value of a mark join.
    Mark,
}

/// Which columns are kept and where the output's come from.
#[derive(Debug)]
pub(super) struct Layout {
    /// Schema of the output.
    pub schema: SchemaRef,
    /// Schema of the join key.
    pub key_schema: SchemaRef,
    /// Per side the kept columns: the key, then the rest.
    pub stored_schema: [SchemaRef; 2],
    /// Sources of the output's columns.
    pub output: Vec<Source>,
    keys: [Vec<usize>; 2],
    rest: [Vec<usize>; 2],
    left_width: usize,
}

impl Layout {
    pub(super) fn new(spec: &JoinSpec) -> Result<Self> {
        let schemas = [&spec.left, &spec.right];
        let left_width = spec.left.fields().len();
        let is_mark = |column: usize| spec.kind == JoinKind::Mark && column == left_width;
        let keys: [Vec<usize>; 2] =
            [spec.on.iter().map(|(left, _)| *left).collect(), spec.on.iter().map(|(_, right)| *right).collect()];
        let mut rest = [BTreeSet::new(), BTreeSet::new()];
        let read = spec.residual.as_ref().map(|condition| columns::read_by(std::slice::from_ref(condition)));
        let output = spec.output.iter().copied().filter(|column| !is_mark(*column));
        for column in output.chain(read.unwrap_or_default()) {
            let (side, column) = if column < left_width { (0, column) } else { (1, column - left_width) };
            if !keys[side].contains(&column) {
                rest[side].insert(column);
            }
        }
        let rest = rest.map(|columns| columns.into_iter().collect::<Vec<_>>());
        let stored =
            |side: usize| columns::schema_of(schemas[side], &[keys[side].clone(), rest[side].clone()].concat());
        let mut layout = Self {
            schema: spec.output_schema.clone(),
            key_schema: columns::schema_of(&spec.left, &keys[0])?,
            stored_schema: [stored(0)?, stored(1)?],
            output: Vec::new(),
            keys,
            rest,
            left_width,
        };
        for column in &spec.output {
            let source = if is_mark(*column) { Source::Mark } else { layout.source(*column)? };
            if !spec.kind.pairs() && matches!(source, Source::Key { side: 1, .. } | Source::Rest { side: 1, .. }) {
                return Err(Error::internal("a semi, anti or mark join gives only left columns").with("column", column));
            }
            layout.output.push(source);
        }
        if layout.output.len() != spec.output_schema.fields().len() {
            return Err(
                Error::internal("a join's output columns do not fit its schema").with("schema", &spec.output_schema)
            );
        }
        Ok(layout)
    }

    /// Where a column of left ++ right is kept.
    pub(super) fn source(&self, column: usize) -> Result<Source> {
        let (side, own) = if column < self.left_width { (0, column) } else { (1, column - self.left_width) };
        if let Some(column) = self.keys[side].iter().position(|key| *key == own) {
            return Ok(Source::Key { side, column });
        }
        match self.rest[side].binary_search(&own) {
            Ok(column) => Ok(Source::Rest { side, column }),
            Err(_) => Err(Error::internal("a join lacks a column").with("column", column)),
        }
    }

    /// Fields of a side's columns beside the key.
    pub(super) fn rest_fields(&self, side: usize) -> Vec<FieldRef> {
        self.stored_schema[side].fields()[self.keys[side].len()..].to_vec()
    }

    /// The key columns of an input batch.
    pub(super) fn key_columns(&self, side: usize, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.keys[side].iter().map(|column| rows.column(*column).clone()).collect()
    }

    /// The other kept columns of an input batch.
    pub(super) fn rest_columns(&self, side: usize, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.rest[side].iter().map(|column| rows.column(*column).clone()).collect()
    }

    /// Input changes with only the kept columns.
    pub(super) fn stored(&self, side: usize, changes: &Changes) -> Result<Changes> {
        let mut arrays = self.key_columns(side, changes.rows());
        arrays.extend(self.rest_columns(side, changes.rows()));
        Ok(changes.with_rows(columns::batch(&self.stored_schema[side], arrays, changes.len())?))
    }

    /// Whether any two different pairs of kept rows, and any row without a partner, are different rows of the output.
    pub(super) fn tells_apart(&self, spec: &JoinSpec) -> bool {
        let shown = |source: Source| self.output.contains(&source);
        let shows_rest = |side: usize| (0..self.rest[side].len()).all(|column| shown(Source::Rest { side, column }));
        let key = |side: usize, column: usize| shown(Source::Key { side, column });
        let shows_key = |side: usize| (0..spec.on.len()).all(|column| key(side, column));
        if !spec.kind.pairs() {
            return shows_rest(0) && shows_key(0);
        }
        // A key column of the other side is never NULL in a pair, and always NULL in a row without a partner.
        let padding_shows =
            |other: usize| !spec.null_equals_null && (0..spec.on.len()).any(|column| key(other, column));
        let unpaired = |side: usize| !spec.kind.counts(side) || (shows_key(side) && padding_shows(1 - side));
        // Rows of nothing but NULLs may stand on both sides, and are the same row when padded.
        let never_null = |side: usize| {
            let mut fields = self.stored_schema[side].fields().iter().take(spec.on.len());
            fields.any(|field| !field.is_nullable())
        };
        let lone_differ = spec.kind != JoinKind::Full || never_null(0) || never_null(1);
        let shows_pair_key = (0..spec.on.len()).all(|column| key(0, column) || key(1, column));
        shows_rest(0) && shows_rest(1) && shows_pair_key && unpaired(0) && unpaired(1) && lone_differ
    }

    /// Columns of pairs.
    pub(super) fn pair_columns(
        &self,
        sources: &[Source],
        keys: &KeyIndex,
        sides: &[Side; 2],
        pairs: &Pairs,
    ) -> Result<Vec<ArrayRef>> {
        let slots = [&pairs.left, &pairs.right];
        let needs_keys = sources.iter().any(|source| matches!(source, Source::Key { .. }));
        let key_slots = if needs_keys { sides[0].keys_of(&pairs.left) } else { Vec::new() };
        let column = |source: &Source| match source {
            Source::Key { side, column } => {
                let array = keys.keys().gather_column(*column, &key_slots)?;
                encoded_as(array, self.stored_schema[*side].field(*column).data_type())
            }
            Source::Rest { side, column } => sides[*side].gather(*column, slots[*side]),
            Source::Mark => Err(Error::internal("a mark join gives no pairs")),
        };
        sources.iter().map(column).collect()
    }

    /// Output columns of rows of one side without their partners.
    pub(super) fn lone_columns(
        &self,
        own: usize,
        keys: &KeyIndex,
        rows: &Side,
        slots: &[u32],
        marks: &[bool],
    ) -> Result<Vec<ArrayRef>> {
        let key_slots = rows.keys_of(slots);
        self.one_sided(own, slots.len(), |source| match source {
            Source::Key { column, .. } => keys.keys().gather_column(column, &key_slots),
            Source::Rest { column, .. } => rows.gather(column, slots),
            Source::Mark => Ok(Arc::new(BooleanArray::from(marks.to_vec()))),
        })
    }

    /// Output columns of rows that were never stored.
    pub(super) fn padded(&self, own: usize, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let keys = self.keys[own].len();
        self.one_sided(own, rows.num_rows(), |source| match source {
            Source::Key { column, .. } => Ok(rows.column(column).clone()),
            Source::Rest { column, .. } => Ok(rows.column(keys + column).clone()),
            Source::Mark => Ok(Arc::new(BooleanArray::from(vec![false; rows.num_rows()]))),
        })
    }

    fn one_sided(&self, own: usize, rows: usize, value: impl Fn(Source) -> Result<ArrayRef>) -> Result<Vec<ArrayRef>> {
        let columns = self.output.iter().zip(self.schema.fields()).map(|(source, field)| match *source {
            Source::Key { side, .. } | Source::Rest { side, .. } if side != own => {
                Ok(new_null_array(field.data_type(), rows))
            }
            source => encoded_as(value(source)?, field.data_type()),
        });
        columns.collect()
    }

    /// A batch of the output.
    pub(super) fn batch(&self, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        columns::batch(&self.schema, arrays, rows)
    }
}

/// Pairs of slots that match by key, as columns.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pub left: Vec<u32>,
    pub right: Vec<u32>,
    /// What the pair contributes to the output.
    pub weights: Vec<i64>,
    /// How many partners the left and the right row gain by the pair: 1, 0 or -1.
    partners: Vec<[i8; 2]>,
}

impl Pairs {
    #[inline]
    pub(super) fn push(&mut self, left: u32, right: u32, weight: i64, partners: [i8; 2]) {
        self.left.push(left);
        self.right.push(right);
        self.weights.push(weight);
        self.partners.push(partners);
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.left.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.left.clear();
        self.right.clear();
        self.weights.clear();
        self.partners.clear();
    }

    /// Keeps the pairs for which the mask is true (NULL is not).
    pub(super) fn retain(&mut self, mask: &BooleanArray) {
        fn keep<T: Copy>(values: &mut Vec<T>, kept: &[usize]) {
            for (to, from) in kept.iter().enumerate() {
                values[to] = values[*from];
            }
            values.truncate(kept.len());
        }
        if mask.true_count() == self.len() {
            return;
        }
        let kept = (0..mask.len()).filter(|row| mask.is_valid(*row) && mask.value(*row)).collect::<Vec<_>>();
        keep(&mut self.left, &kept);
        keep(&mut self.right, &kept);
        keep(&mut self.weights, &kept);
        keep(&mut self.partners, &kept);
    }

    /// Slots of one side that gain or lose a partner, and which of both.
    pub(super) fn partners(&self, side: usize) -> impl Iterator<Item = (u32, i8)> + '_ {
        let slots = if side == 0 { &self.left } else { &self.right };
        let gained = self.partners.iter().map(move |gained| gained[side]);
        slots.iter().copied().zip(gained).filter(|(_, gained)| *gained != 0)
    }
}
