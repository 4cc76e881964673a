//! The batch reader over sources made by hand: projections, limits, partitions, refusals.

use std::collections::BTreeMap;
use std::fs;

use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::pretty::pretty_format_batches;
use catalog::ManualClock;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::*;
use crate::connector::create;

fn source(base: &std::path::Path, options: &[(&str, &str)]) -> Arc<dyn Source> {
    let map: BTreeMap<String, String> = options.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    let schema = Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8View, true)]);
    create(&map, Arc::new(schema), Arc::new(ManualClock::new(0, 0)), base).unwrap().readable("t").unwrap()
}

async fn answer(source: Arc<dyn Source>, sql: &str) -> DataFusionResult<String> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(3));
    context.register_table("t", Arc::new(SourceTable::new(source).unwrap()))?;
    let batches = context.sql(sql).await?.collect().await?;
    Ok(pretty_format_batches(&batches)?.to_string().lines().filter(|l| l.starts_with("| ")).skip(1).collect())
}

#[tokio::test]
async fn queries_read_every_split() {
    let base = tempfile::tempdir().unwrap();
    for file in 0..5 {
        let line = |i| format!("{{\"a\":{i},\"b\":\"x{}\"}}\n", i % 2);
        fs::write(base.path().join(format!("{file}.json")), (file * 10..file * 10 + 10).map(line).collect::<String>())
            .unwrap();
    }
    let json = [("connector", "filesystem"), ("path", "*.json"), ("format", "json"), ("source.split-size", "50")];
    let follow = [&json[..], &[("source.monitor-interval", "1s")]].concat();
    for options in [&json[..], &follow] {
        let table = source(base.path(), options);
        assert_eq!(answer(table.clone(), "SELECT count(*) FROM t").await.unwrap(), "| 50       |");
        assert_eq!(answer(table.clone(), "SELECT sum(a) AS total FROM t WHERE b = 'x1'").await.unwrap(), "| 625   |");
        let limited = answer(table, "SELECT count(*) AS n FROM (SELECT b FROM t LIMIT 7)").await.unwrap();
        assert_eq!(limited, "| 7 |");
    }
}

#[tokio::test]
async fn errors_come_through_and_endless_sources_are_refused() {
    let base = tempfile::tempdir().unwrap();
    fs::write(base.path().join("a.csv"), "1,x\ntwo,y\n").unwrap();
    let csv = source(base.path(), &[("connector", "filesystem"), ("path", "a.csv"), ("format", "csv")]);
    let error = answer(csv, "SELECT * FROM t").await.unwrap_err().to_string();
    assert!(error.contains("line: 2") && error.contains("two"), "{error}");
    let endless = source(base.path(), &[("connector", "datagen")]);
    assert!(SourceTable::new(endless).unwrap_err().to_string().contains("number-of-rows"));
    let ends = source(base.path(), &[("connector", "datagen"), ("number-of-rows", "20"), ("rows-per-second", "0")]);
    assert_eq!(answer(ends, "SELECT count(a) AS n FROM t").await.unwrap(), "| 20 |");
}

#[test]
fn splits_are_dealt_evenly() {
    let splits: Vec<Split> = (0..7).map(|i| Split { id: i.to_string() }).collect();
    let sizes = |groups| deal(splits.clone(), groups).iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(sizes(3), [3, 2, 2]);
    assert_eq!(sizes(100).len(), 7);
    assert_eq!(deal(vec![], 4).len(), 1);
}
