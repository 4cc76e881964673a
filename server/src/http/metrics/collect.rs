//! From what the engine counted to the values of every metric.

use std::fmt::Error;
use std::time::Duration;

use catalog::JobStatus;
use engine::session::observe::{
    DURATION_BOUNDS, Distribution, JobMeasures, Measures, NodeTotals, OperatorMeasures, SourceMeasures, TableMeasures,
};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::names::{self, Kind, Metric};
use super::text::label;
use crate::http::jobs::status;
use crate::http::workers::Cluster;
use crate::process::Usage;

/// One value of a metric.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    metric: Metric,
    labels: Vec<String>,
    value: Value,
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Whole(u64),
    Real(f64),
    Spread(Distribution),
}

impl Value {
    fn encode(&self, kind: Kind, encoder: &mut MetricEncoder<'_>) -> Result<(), Error> {
        match (self, kind) {
            (Self::Whole(value), Kind::Counter) => encoder.encode_counter::<NoLabelSet, _, u64>(value, None),
            (Self::Real(value), Kind::Counter) => encoder.encode_counter::<NoLabelSet, _, u64>(value, None),
            (Self::Whole(value), _) => encoder.encode_gauge(&i64::try_from(*value).unwrap_or(i64::MAX)),
            (Self::Real(value), _) => encoder.encode_gauge(value),
            (Self::Spread(spread), _) => {
                let bounds = DURATION_BOUNDS.iter().map(Duration::as_secs_f64).chain([f64::MAX]);
                let buckets: Vec<(f64, u64)> = bounds.zip(spread.counts).collect();
                encoder.encode_histogram::<NoLabelSet>(spread.sum.as_secs_f64(), spread.count(), &buckets, None)
            }
        }
    }
}

/// All values of one scrape.
#[derive(Debug, Default)]
pub struct Samples(Vec<Sample>);

impl Samples {
    /// The values of all metrics. `cluster`: those of a coordinator.
    pub fn of(measures: &Measures, cluster: Option<&Cluster>, process: Usage) -> Self {
        let mut samples = Self::default();
        samples.add(names::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1);
        samples.add(names::CATALOG_VERSION, &[], measures.version);
        if let Some(Cluster { workers, recommended }) = cluster {
            for (state, leaving) in [("active", false), ("leaving", true)] {
                let count = workers.iter().filter(|worker| worker.draining == leaving).count();
                samples.add(names::WORKERS, &[state], count as u64);
            }
            samples.add(names::WORKER_SLOTS, &[], workers.iter().map(|worker| worker.slots as u64).sum());
            samples.add(names::RECOMMENDED_WORKERS, &[], recommended.workers as u64);
        }
        for wanted in STATUSES {
            let jobs = measures.jobs.iter().filter(|job| job.status == wanted).count();
            samples.add(names::JOBS, &[status(wanted)], jobs as u64);
        }
        measures.jobs.iter().for_each(|job| samples.job(measures.at_ms, job));
        measures.operators.iter().for_each(|operator| samples.operator(operator));
        measures.sources.iter().for_each(|source| samples.source(source));
        measures.tables.iter().for_each(|table| samples.table(table));
        samples.add(names::PROCESS_MEMORY, &[], process.memory_bytes);
        samples.real(names::PROCESS_CPU, &[], process.cpu_seconds);
        samples.add(names::PROCESS_START, &[], process.started_seconds);
        samples
    }

    fn job(&mut self, now_ms: i64, job: &JobMeasures) {
        let name = job.name.as_str();
        for other in STATUSES {
            self.add(names::JOB_STATUS, &[name, status(other)], u64::from(job.status == other));
        }
        self.add(names::JOB_LOCAL, &[name], u64::from(job.running.is_some()));
        for input in &job.inputs {
            self.input(now_ms, [name, &input.table], &input.totals, job.running.is_some());
        }
        for output in &job.outputs {
            self.add(names::JOB_OUTPUT_ROWS, &[name, &output.table], output.rows);
        }
        self.add(names::JOB_FAILED_VALUES, &[name], job.failed_values);
        self.spread(names::JOB_EPOCH_DURATION, name, job.epochs);
        self.spread(names::JOB_CHECKPOINT_DURATION, name, job.checkpoints);
        self.spread(names::JOB_COMMIT_LAG, name, job.commit_lags);
        if let Some(last) = &job.last_checkpoint {
            self.add(names::JOB_CHECKPOINT_BYTES, &[name], last.bytes);
            self.add(names::JOB_CHECKPOINT_FILES, &[name], last.files);
        }
        if let Some(running) = &job.running {
            self.add(names::JOB_EPOCH, &[name], running.epoch);
            self.add(names::JOB_PARALLELISM, &[name], running.parallelism as u64);
            self.real(names::JOB_UNCOMMITTED_AGE, &[name], seconds(running.uncommitted_ms.unwrap_or(0)));
            if let Some(age) = running.checkpoint_age_ms {
                self.real(names::JOB_CHECKPOINT_AGE, &[name], seconds(age));
            }
        }
    }

    fn input(&mut self, now_ms: i64, labels: [&str; 2], totals: &NodeTotals, running: bool) {
        self.add(names::JOB_INPUT_ROWS, &labels, totals.rows_in);
        self.add(names::JOB_LATE_ROWS, &labels, totals.late);
        self.add(names::JOB_SKIPPED_ROWS, &labels, totals.skipped);
        let lags = [(names::JOB_EVENT_TIME_LAG, totals.event_time_ms), (names::JOB_WATERMARK_LAG, totals.watermark_ms)];
        for (metric, time) in lags.into_iter().filter(|_| running) {
            if let Some(time) = time {
                self.real(metric, &labels, now_ms.saturating_sub(time) as f64 / 1e3);
            }
        }
    }

    fn operator(&mut self, operator: &OperatorMeasures) {
        let (number, totals) = (operator.operator.to_string(), &operator.totals);
        let labels = [operator.job.as_str(), &number, operator.kind];
        self.add(names::OPERATOR_ROWS_IN, &labels, totals.rows_in);
        self.add(names::OPERATOR_ROWS_OUT, &labels, totals.rows_out);
        self.real(names::OPERATOR_BUSY, &labels, totals.busy.as_secs_f64());
        self.real(names::OPERATOR_BACKPRESSURE, &labels, totals.backpressure.as_secs_f64());
        self.add(names::OPERATOR_STATE_ROWS, &labels, totals.state_rows);
        self.add(names::OPERATOR_STATE_BYTES, &labels, totals.state_bytes);
    }

    fn source(&mut self, source: &SourceMeasures) {
        let (labels, totals) = ([source.table.as_str()], &source.totals);
        self.add(names::SOURCE_ROWS, &labels, totals.read);
        self.real(names::SOURCE_BUSY, &labels, totals.busy.as_secs_f64());
        self.real(names::SOURCE_BACKPRESSURE, &labels, totals.backpressure.as_secs_f64());
    }

    fn table(&mut self, table: &TableMeasures) {
        let name = table.table.as_str();
        for (tier, (segments, bytes)) in [("hot", table.hot_segments), ("retained", table.retained_segments)] {
            self.add(names::TABLE_SEGMENTS, &[name, tier], segments);
            self.add(names::TABLE_SEGMENT_BYTES, &[name, tier], bytes);
        }
        let Some(iceberg) = &table.iceberg else { return };
        for (content, (files, bytes)) in [("data", iceberg.data_files), ("deletes", iceberg.delete_files)] {
            self.add(names::TABLE_FILES, &[name, content], files);
            self.add(names::TABLE_FILE_BYTES, &[name, content], bytes);
        }
        self.add(names::TABLE_SNAPSHOT_ROWS, &[name], iceberg.rows);
        if let Some(age) = iceberg.age_ms {
            self.real(names::TABLE_SNAPSHOT_AGE, &[name], seconds(age));
        }
    }

    fn add(&mut self, metric: Metric, labels: &[&str], value: u64) {
        self.push(metric, labels, Value::Whole(value));
    }

    fn real(&mut self, metric: Metric, labels: &[&str], value: f64) {
        self.push(metric, labels, Value::Real(value));
    }

    fn spread(&mut self, metric: Metric, job: &str, value: Distribution) {
        self.push(metric, &[job], Value::Spread(value));
    }

    fn push(&mut self, metric: Metric, labels: &[&str], value: Value) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "labels of {}", metric.stem());
        self.0.push(Sample { metric, labels: labels.iter().map(|value| (*value).to_owned()).collect(), value });
    }
}

const STATUSES: [JobStatus; 4] = [JobStatus::Running, JobStatus::Paused, JobStatus::Finished, JobStatus::Failed];

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        for metric in names::ALL {
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let unit = metric.unit();
            let mut family = encoder.encode_descriptor(metric.stem(), metric.help, unit.as_ref(), kind)?;
            for sample in self.0.iter().filter(|sample| sample.metric == *metric) {
                let values = sample.labels.iter().map(|value| label(value));
                let labels: Vec<_> = metric.labels.iter().copied().zip(values).collect();
                match labels.is_empty() {
                    true => sample.value.encode(metric.kind, &mut family)?,
                    false => sample.value.encode(metric.kind, &mut family.encode_family(&labels)?)?,
                }
            }
        }
        Ok(())
    }
}
