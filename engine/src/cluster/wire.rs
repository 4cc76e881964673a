//! How messages and changes look as Arrow Flight data.
//!
//! A control message is JSON in `app_metadata`; rows that belong to it are an Arrow IPC stream in `data_body`.
//!
//! What travels along an edge of a dataflow is one Arrow IPC record batch without schema, since both ends know the edge's columns:
//! its header in `data_header`, its buffers in `data_body`, and in `app_metadata`, little-endian:
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 0..4 | slot that it goes to |
//! | 4..8 | node there |
//! | 8..12 | which input of the node |
//! | 12..16 | node that sent it |
//! | 16..24 | epoch |
//! | 24 | 0: barrier, without data; 1: rows that all appear once; 2: rows whose last column `__weight BIGINT` says how often |

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{CompressionContext, DictionaryTracker, IpcDataGenerator, IpcWriteOptions, StreamWriter};
use arrow_flight::FlightData;
use arrow_flight::utils::flight_data_to_arrow_batch;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::change::{Changes, WEIGHT_COLUMN, Weights};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::dataflow::Dataflow;
use crate::runtime::slot::{Delivery, Payload};

/// Length of the metadata of a delivery.
const DELIVERY: usize = 25;
const BARRIER: u8 = 0;
const ONES: u8 = 1;
const WEIGHTED: u8 = 2;

/// A control message.
pub fn message(message: &impl Serialize) -> Result<FlightData> {
    with_rows(message, Bytes::new())
}

/// A control message with rows.
pub fn message_with(told: &impl Serialize, changes: &Changes) -> Result<FlightData> {
    let batch = weighted(changes)?;
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batch.schema())?;
    writer.write(&batch)?;
    writer.finish()?;
    drop(writer);
    with_rows(told, bytes.into())
}

fn with_rows(message: &impl Serialize, rows: Bytes) -> Result<FlightData> {
    let json = serde_json::to_vec(message).map_err(|e| Error::internal("a message cannot be written").because(e))?;
    Ok(FlightData::new().with_app_metadata(json).with_data_body(rows))
}

/// What a control message says.
pub fn read<T: DeserializeOwned>(data: &FlightData) -> Result<T> {
    serde_json::from_slice(&data.app_metadata)
        .map_err(|e| Error::new(ErrorKind::Unavailable, "a message of another version of frazil").because(e))
}

/// The rows of a control message.
pub fn rows(data: &FlightData) -> Result<Vec<Changes>> {
    StreamReader::try_new(data.data_body.as_ref(), None)?.map(|batch| unweighted(batch?, true)).collect()
}

/// Writes deliveries for one connection.
pub struct Encoder {
    generator: IpcDataGenerator,
    options: IpcWriteOptions,
    compression: CompressionContext,
}

impl Encoder {
    /// Without compression: networks between workers are faster than what compresses.
    pub fn new() -> Self {
        let (generator, options) = (IpcDataGenerator::default(), IpcWriteOptions::default());
        Self { generator, options, compression: CompressionContext::default() }
    }

    /// A delivery to a slot.
    pub fn delivery(&mut self, slot: usize, delivery: &Delivery) -> Result<FlightData> {
        let (kind, from, changes) = match &delivery.payload {
            Payload::Barrier => (BARRIER, 0, None),
            Payload::Data { changes, from, .. } => match changes.weights() {
                Weights::Ones => (ONES, *from, Some(changes)),
                Weights::Each(_) => (WEIGHTED, *from, Some(changes)),
            },
        };
        let mut metadata = Vec::with_capacity(DELIVERY);
        for number in [slot, delivery.node, delivery.input, from] {
            metadata.extend((number as u32).to_le_bytes());
        }
        metadata.extend(delivery.epoch.to_le_bytes());
        metadata.push(kind);
        let data = FlightData::new().with_app_metadata(metadata);
        let Some(changes) = changes else { return Ok(data) };
        let batch = if kind == ONES { changes.rows().clone() } else { weighted(changes)? };
        let mut dictionaries = DictionaryTracker::new(false);
        let (used, encoded) = self.generator.encode(&batch, &mut dictionaries, &self.options, &mut self.compression)?;
        if !used.is_empty() {
            return Err(Error::internal("changes with dictionaries cannot be sent"));
        }
        Ok(data.with_data_header(encoded.ipc_message).with_data_body(encoded.arrow_data))
    }
}

/// Reads a delivery; gives the slot that it goes to. `now`: the monotonic clock, since time that rows were under way is not known here.
pub fn delivery(flow: &Dataflow, data: &FlightData, now: Duration) -> Result<(usize, Delivery)> {
    let damaged = || Error::new(ErrorKind::Unavailable, "a message between workers cannot be read");
    let metadata: &[u8; DELIVERY] = data.app_metadata.as_ref().try_into().map_err(|_| damaged())?;
    let number = |at: usize| {
        let bytes = [metadata[at], metadata[at + 1], metadata[at + 2], metadata[at + 3]];
        u32::from_le_bytes(bytes) as usize
    };
    let (slot, node, input, from) = (number(0), number(4), number(8), number(12));
    let epoch = (number(16) as u64) | ((number(20) as u64) << 32);
    let kind = metadata[24];
    let inputs = &flow.nodes.get(node).ok_or_else(damaged)?.inputs;
    let (sender, _) = inputs.get(input).ok_or_else(damaged)?;
    let payload = match kind {
        BARRIER => Payload::Barrier,
        _ => {
            let schema = flow.nodes[*sender].schema.clone();
            let schema = if kind == WEIGHTED { with_weight(&schema) } else { schema };
            let batch = flight_data_to_arrow_batch(data, schema, &HashMap::new())?;
            Payload::Data { changes: unweighted(batch, kind == WEIGHTED)?, from, sent: now }
        }
    };
    Ok((slot, Delivery { node, input, epoch, payload }))
}

fn with_weight(schema: &Schema) -> SchemaRef {
    let weight = Arc::new(Field::new(WEIGHT_COLUMN, DataType::Int64, false));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain([weight]).collect::<Vec<_>>()))
}

/// Changes as one batch whose last column holds the weights.
fn weighted(changes: &Changes) -> Result<RecordBatch> {
    let rows = changes.rows();
    let weights: ArrayRef = match changes.weights() {
        Weights::Ones => Arc::new(Int64Array::from_value(1, rows.num_rows())),
        Weights::Each(each) => Arc::new(Int64Array::new(each.clone(), None)),
    };
    let columns = rows.columns().iter().cloned().chain([weights]).collect();
    Ok(RecordBatch::try_new(with_weight(&rows.schema()), columns)?)
}

/// The reverse of [`weighted`], if there are weights.
fn unweighted(batch: RecordBatch, weighted: bool) -> Result<Changes> {
    if !weighted {
        return Ok(Changes::inserts(batch));
    }
    let damaged = || Error::new(ErrorKind::Unavailable, "a message between workers lacks its weights");
    let last = batch.num_columns().checked_sub(1).ok_or_else(damaged)?;
    let weights = batch.column(last).as_primitive_opt::<Int64Type>().ok_or_else(damaged)?.values().clone();
    let schema = batch.schema();
    let fields = Schema::new(schema.fields()[..last].to_vec());
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let rows = RecordBatch::try_new_with_options(Arc::new(fields), batch.columns()[..last].to_vec(), &options)?;
    Ok(match weights.iter().all(|weight| *weight == 1) {
        true => Changes::inserts(rows),
        false => Changes::new(rows, Weights::Each(weights)),
    })
}

/// Bytes that a delivery takes, about.
pub fn size(delivery: &Delivery) -> usize {
    match &delivery.payload {
        Payload::Barrier => DELIVERY,
        // Slices of large buffers count by their rows.
        Payload::Data { changes, .. } => {
            let columns = changes.rows().columns().iter();
            columns.map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum::<usize>() + DELIVERY
        }
    }
}
