//! Files in every format: splits, resumption, malformed rows, new files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use arrow::array::{
    ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::{Field, Int32Type, Schema, TimeUnit};
use arrow::util::display::array_value_to_string;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|(name, t)| Field::new(*name, t.clone(), true)).collect::<Vec<_>>()))
}

fn create(base: &Path, schema: SchemaRef, options: &[(&str, &str)]) -> Result<Filesystem> {
    let mut map: BTreeMap<String, String> =
        options.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect();
    map.insert("connector".into(), "filesystem".into());
    Filesystem::create(&Options::parse(&map)?, schema, base)
}

fn text_rows(batch: &RecordBatch) -> Vec<String> {
    let value = |c: &ArrayRef, row| {
        if c.is_null(row) { "NULL".to_string() } else { array_value_to_string(c, row).unwrap() }
    };
    let row = |row| batch.columns().iter().map(|c| value(c, row)).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(row).collect()
}

/// Rows of one split, the position after every read with the number of rows until then, and what was skipped.
type SplitRows = (Vec<String>, Vec<(usize, SplitPosition)>, u64);

fn read_split(
    source: &Filesystem,
    split: &Split,
    from: SplitPosition,
    projection: &[usize],
    max_rows: usize,
) -> Result<SplitRows> {
    let mut reader = source.open(split, from, projection)?;
    assert_eq!(reader.position(), from);
    let (mut rows, mut positions) = (Vec::new(), Vec::new());
    loop {
        match reader.read(max_rows)? {
            Read::Rows(batch) => {
                assert!(batch.num_rows() <= max_rows);
                assert_eq!(batch.schema().fields().len(), projection.len());
                rows.extend(text_rows(&batch));
                positions.push((rows.len(), reader.position()));
            }
            Read::Idle(_) => panic!("files are never idle"),
            Read::End => {
                assert!(reader.position().ended);
                return Ok((rows, positions, reader.skipped()));
            }
        }
    }
}

fn read_all(source: &Filesystem, projection: &[usize], max_rows: usize) -> Result<(Vec<String>, u64)> {
    let (mut rows, mut skipped) = (Vec::new(), 0);
    for split in source.splits()? {
        let (some, _, bad) = read_split(source, &split, SplitPosition::default(), projection, max_rows)?;
        rows.extend(some);
        skipped += bad;
    }
    Ok((rows, skipped))
}

/// Whoever resumes at any position gets exactly the rest.
fn check_resume(source: &Filesystem, projection: &[usize]) {
    for split in source.splits().unwrap() {
        for max_rows in [1, 3] {
            let (rows, positions, _) =
                read_split(source, &split, SplitPosition::default(), projection, max_rows).unwrap();
            for (taken, position) in positions {
                let (rest, _, _) = read_split(source, &split, position, projection, 2).unwrap();
                assert_eq!(rest, rows[taken..], "{split:?} at {position:?}");
            }
        }
        let ended = SplitPosition { ended: true, ..SplitPosition::default() };
        assert!(read_split(source, &split, ended, projection, 1).unwrap().0.is_empty());
    }
}

fn gzip(path: &Path, members: &[&str]) {
    let mut bytes = Vec::new();
    for member in members {
        let mut encoder = GzEncoder::new(&mut bytes, Compression::default());
        encoder.write_all(member.as_bytes()).unwrap();
        encoder.finish().unwrap();
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn csv_by_position_with_every_option() {
    let base = tempfile::tempdir().unwrap();
    fs::write(
        base.path().join("a.csv"),
        "# made by hand\n1;'x;y';2013-01-01T10:00:00Z\r\n;NA;\n3;'it''s\ntwo lines';2013-01-01 11:00\n\n4;;2013-01-01T12:00:00+02:00",
    )
    .unwrap();
    let schema = schema(&[("a", DataType::Int64), ("b", DataType::Utf8View), ("c", TIME)]);
    let options = [
        ("path", "a.csv"),
        ("format", "CSV"),
        ("csv.field-delimiter", ";"),
        ("csv.quote-character", "'"),
        ("csv.comment-character", "#"),
        ("csv.null-literal", "NA"),
    ];
    let source = create(base.path(), schema, &options).unwrap();
    assert!(source.bounded());
    let rows = [
        "1|x;y|2013-01-01T10:00:00",
        "NULL|NULL|NULL",
        "3|it's\ntwo lines|2013-01-01T11:00:00",
        "4||2013-01-01T10:00:00",
    ];
    assert_eq!(read_all(&source, &[0, 1, 2], 10).unwrap().0, rows);
    assert_eq!(read_all(&source, &[2, 0], 1).unwrap().0[0], "2013-01-01T10:00:00|1");
    assert_eq!(read_all(&source, &[], 3).unwrap().0.len(), 4);
    check_resume(&source, &[0, 1, 2]);
}

#[test]
fn csv_by_header_in_several_files_some_compressed() {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir(base.path().join("d")).unwrap();
    fs::write(base.path().join("d/1.csv"), "\u{feff}b,extra,A\nx,?,1\ny,?,2\n").unwrap();
    gzip(&base.path().join("d/2.csv.gz"), &["a,b\n3,", "z\n4,w\n5,v\n"]);
    fs::write(base.path().join("d/3.csv"), "").unwrap();
    let schema = schema(&[("a", DataType::Int32), ("b", DataType::Utf8View)]);
    let source = create(base.path(), schema, &[("path", "d"), ("format", "csv"), ("csv.header", "true")]).unwrap();
    assert_eq!(read_all(&source, &[0, 1], 10).unwrap().0, ["1|x", "2|y", "3|z", "4|w", "5|v"]);
    assert_eq!(read_all(&source, &[1], 1).unwrap().0, ["x", "y", "z", "w", "v"]);
    // Flink's ways to say it.
    fs::write(base.path().join("f.csv"), "#no\n1,\"\n").unwrap();
    let flink =
        [("csv.allow-comments", "true"), ("csv.disable-quote-character", "true"), ("path", "f.csv"), ("format", "csv")];
    let flink = create(base.path(), source.schema(), &flink).unwrap();
    assert_eq!(read_all(&flink, &[0, 1], 5).unwrap().0, ["1|\""]);
    check_resume(&source, &[1, 0]);
}

#[test]
fn json_lines_of_all_types() {
    let base = tempfile::tempdir().unwrap();
    let text = concat!(
        "{\"a\": 1, \"b\": \"x\", \"c\": \"2013-01-01T10:00:00.5Z\", \"d\": 1.5, \"e\": true, \"unknown\": [1, {\"a\": 7}]}\n",
        "\n",
        "{\"b\": 12, \"d\": 2, \"c\": null}\r\n",
        "{}\n",
        "{\"a\": -5, \"c\": \"2013-01-01 10:00:00\", \"b\": \"\u{e9}\\n\\u00e9\"}",
    );
    fs::write(base.path().join("plain.json"), text).unwrap();
    gzip(&base.path().join("x.json.gz"), &[&text[..30], &text[30..]]);
    let schema = schema(&[
        ("a", DataType::Int64),
        ("b", DataType::Utf8View),
        ("c", TIME),
        ("d", DataType::Float64),
        ("e", DataType::Boolean),
    ]);
    let rows = [
        "1|x|2013-01-01T10:00:00.500|1.5|true",
        "NULL|12|NULL|2.0|NULL",
        "NULL|NULL|NULL|NULL|NULL",
        "-5|\u{e9}\n\u{e9}|2013-01-01T10:00:00|NULL|NULL",
    ];
    for file in ["plain.json", "x.json.gz"] {
        for size in ["1", "7", "40", "16mb"] {
            let options = [("path", file), ("format", "json"), ("source.split-size", size)];
            let source = create(base.path(), schema.clone(), &options).unwrap();
            assert_eq!(read_all(&source, &[0, 1, 2, 3, 4], 3).unwrap().0, rows, "{file} {size}");
            assert_eq!(read_all(&source, &[], 100).unwrap().0.len(), 4);
            assert_eq!(read_all(&source, &[2, 1], 1).unwrap().0[3], "2013-01-01T10:00:00|\u{e9}\n\u{e9}");
            check_resume(&source, &[0, 1]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn json_ranges_give_every_row_once(
        lengths in prop::collection::vec(0_usize..60, 1..120),
        size in 1_u64..300,
        max_rows in 1_usize..50,
    ) {
        let base = tempfile::tempdir().unwrap();
        let line = |(i, n): (usize, &usize)| format!("{{\"a\":{i},\"b\":\"{}\"}}\n", "x".repeat(*n));
        fs::write(base.path().join("f.json"), lengths.iter().enumerate().map(line).collect::<String>()).unwrap();
        let schema = schema(&[("a", DataType::Int64), ("b", DataType::Utf8View)]);
        let size = size.to_string();
        let options = [("path", "f.json"), ("format", "json"), ("source.split-size", &size)];
        let source = create(base.path(), schema, &options).unwrap();
        let expected: Vec<_> = lengths.iter().enumerate().map(|(i, n)| format!("{i}|{}", "x".repeat(*n))).collect();
        prop_assert_eq!(read_all(&source, &[0, 1], max_rows).unwrap().0, expected);
    }
}

#[test]
fn malformed_rows_are_named_by_line_and_column_or_skipped() {
    let base = tempfile::tempdir().unwrap();
    let schema = schema(&[("a", DataType::Int64), ("t", TIME)]);
    let json = |line: &str| format!("{{\"a\":1}}\n\n{{\"a\":2}}\n{{\"a\":3}}\n{line}\n{{\"a\":5}}\n");
    let csv = |line: &str| format!("a,t\n1,\n# no\n\"2\",\n{line}\n5,\n");
    let cases = [
        ("json", json("{\"a\":\"seven\"}"), "5", Some(("a", "seven")), 4),
        ("json", json("{\"a\":1,\"t\":\"then\"}"), "5", Some(("t", "then")), 4),
        ("json", json("{\"a\":1,\"t\":1436918400000}"), "5", Some(("t", "1436918400000")), 4),
        ("json", json("{\"a\":1} {\"a\":2}"), "5", None, 4),
        ("json", json("{\"a\":1"), "5", None, 4),
        ("json", json("[1]"), "5", None, 4),
        ("json", json("\u{0}"), "5", None, 4),
        ("csv", csv("x,"), "5", Some(("a", "x")), 3),
        ("csv", csv("1,yesterday"), "5", Some(("t", "yesterday")), 3),
        ("csv", csv("1"), "5", None, 3),
        ("csv", csv("1,,"), "5", None, 3),
    ];
    for (format, text, line, culprit, good) in cases {
        for compressed in [false, true] {
            let name = if compressed { "bad.gz" } else { "bad" };
            if compressed {
                gzip(&base.path().join(name), &[&text])
            } else {
                fs::write(base.path().join(name), &text).unwrap()
            }
            let mut options = vec![("path", name), ("format", format)];
            if format == "csv" {
                options.extend([("csv.header", "true"), ("csv.comment-character", "#")]);
            }
            let source = create(base.path(), schema.clone(), &options).unwrap();
            for max_rows in [1, 100] {
                let error = read_all(&source, &[0, 1], max_rows).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Data);
                let text = error.to_string();
                assert!(text.contains(&format!("line: {line}")), "{text}");
                assert!(text.contains(name) && text.contains("format.ignore-parse-errors"), "{text}");
                if let Some((column, value)) = culprit {
                    assert!(text.contains(&format!("column: {column}")) && text.contains(value), "{text}");
                }
            }
            options.push(("format.ignore-parse-errors", "true"));
            let source = create(base.path(), schema.clone(), &options).unwrap();
            for max_rows in [1, 2, 100] {
                let (rows, skipped) = read_all(&source, &[0, 1], max_rows).unwrap();
                assert_eq!((rows.len(), skipped), (good, 1), "{text}");
            }
            check_resume(&source, &[0]);
        }
    }
}

#[test]
fn nested_json_columns() {
    let base = tempfile::tempdir().unwrap();
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    let schema = schema(&[("a", list), ("t", TIME)]);
    let text = "{\"a\":[1,2],\"t\":\"2013-01-01T10:00:00Z\"}\n{\"a\":[]}\n{\"a\":[\"x\"]}\n{\"a\":1,\n{\"t\":5}\n{\"a\":null}\n";
    fs::write(base.path().join("a.json"), text).unwrap();
    let source = create(base.path(), schema.clone(), &[("path", "a.json"), ("format", "json")]).unwrap();
    let error = read_all(&source, &[0, 1], 10).unwrap_err().to_string();
    assert!(error.contains("line: 3") && error.contains("column: a") && error.contains("[\"x\"]"), "{error}");
    let options = [("path", "a.json"), ("format", "json"), ("json.ignore-parse-errors", "true")];
    let source = create(base.path(), schema, &options).unwrap();
    let (rows, skipped) = read_all(&source, &[0, 1], 10).unwrap();
    assert_eq!(rows, ["[1, 2]|2013-01-01T10:00:00", "[]|NULL", "NULL|NULL"]);
    assert_eq!(skipped, 3);
}

#[test]
fn not_null_columns_refuse_nulls() {
    let base = tempfile::tempdir().unwrap();
    fs::write(base.path().join("a.json"), "{\"a\":1}\n{}\n").unwrap();
    fs::write(base.path().join("a.csv"), "1,x\n,y\n").unwrap();
    let strict = Field::new("a", DataType::Int64, false);
    let both = Arc::new(Schema::new(vec![strict.clone(), Field::new("b", DataType::Utf8View, true)]));
    for (schema, path, format) in [(Arc::new(Schema::new(vec![strict])), "a.json", "json"), (both, "a.csv", "csv")] {
        let source = create(base.path(), schema, &[("path", path), ("format", format)]).unwrap();
        let error = read_all(&source, &[0], 10).unwrap_err().to_string();
        assert!(error.contains("NOT NULL") && error.contains("line: 2") && error.contains("column: a"), "{error}");
    }
}

fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>, rows_per_group: usize) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(rows_per_group)).build();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn parquet_by_name_with_conversions() {
    let base = tempfile::tempdir().unwrap();
    let a: ArrayRef = Arc::new(Int32Array::from_iter((0..10).map(|i| (i != 4).then_some(i))));
    let b: ArrayRef = Arc::new(StringArray::from_iter_values((0..10).map(|i| format!("a rather long text {i}"))));
    let c: ArrayRef = Arc::new(TimestampNanosecondArray::from_iter_values((0..10).map(|i| i * 1_000_000_000)));
    let d: ArrayRef =
        Arc::new((0..10).map(|i| if i % 2 == 0 { "even" } else { "odd" }).collect::<DictionaryArray<Int32Type>>());
    let unused: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
    write_parquet(&base.path().join("a.parquet"), vec![("unused", unused), ("c", c), ("b", b), ("a", a), ("d", d)], 4);
    let schema = schema(&[("a", DataType::Int64), ("b", DataType::Utf8View), ("c", TIME), ("d", DataType::Utf8View)]);
    let source = create(base.path(), schema, &[("path", "*.parquet"), ("format", "parquet")]).unwrap();
    assert_eq!(
        source.splits().unwrap().iter().map(|s| s.id.as_str()).collect::<Vec<_>>(),
        ["a.parquet#0", "a.parquet#1", "a.parquet#2"]
    );
    assert_eq!(source.estimated_rows(), Some(10));
    let (rows, _) = read_all(&source, &[3, 0, 1, 2], 3).unwrap();
    assert_eq!(rows[3], "odd|3|a rather long text 3|1970-01-01T00:00:03");
    assert_eq!(rows[4], "even|NULL|a rather long text 4|1970-01-01T00:00:04");
    assert_eq!(rows.len(), 10);
    assert_eq!(read_all(&source, &[], 3).unwrap().0.len(), 10);
    check_resume(&source, &[0, 2]);
    // A reader that is asked for less than before keeps the rest.
    let mut reader = source.open(&source.splits().unwrap()[0], SplitPosition::default(), &[0]).unwrap();
    let mut sizes = Vec::new();
    while let Read::Rows(batch) = reader.read(if sizes.is_empty() { 3 } else { 1 }).unwrap() {
        sizes.push(batch.num_rows());
    }
    assert_eq!((sizes, reader.position().rows), (vec![3, 1], 4));
}

#[test]
fn parquet_schema_errors_name_file_and_column() {
    let base = tempfile::tempdir().unwrap();
    let a: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    write_parquet(&base.path().join("a.parquet"), vec![("a", a)], 4);
    fs::write(base.path().join("b.parquet"), "no parquet").unwrap();
    for (file, columns, parts) in [
        ("a.parquet", schema(&[("a", DataType::Int64)]), ["column: a", "VARCHAR", "BIGINT"]),
        ("a.parquet", schema(&[("z", DataType::Int64)]), ["column: z", "does not have", "the file has a"]),
        ("b.parquet", schema(&[("a", DataType::Utf8View)]), ["not a readable", "b.parquet", ""]),
    ] {
        let error = create(base.path(), columns, &[("path", file), ("format", "parquet")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        let text = error.to_string();
        assert!(text.contains(file) && parts.iter().all(|part| text.contains(part)), "{text}");
    }
}

#[test]
fn parquet_values_that_do_not_fit_are_refused() {
    let base = tempfile::tempdir().unwrap();
    let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(1 << 40), None]));
    write_parquet(&base.path().join("a.parquet"), vec![("a", a)], 4);
    let options = [("path", "a.parquet"), ("format", "parquet")];
    let source = create(base.path(), schema(&[("a", DataType::Int32)]), &options).unwrap();
    let error = read_all(&source, &[0], 10).unwrap_err().to_string();
    assert!(error.contains("does not fit the declared type INT") && error.contains("column: a"), "{error}");
    let strict = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]));
    let source = create(base.path(), strict, &options).unwrap();
    assert!(read_all(&source, &[0], 10).unwrap_err().to_string().contains("NOT NULL"));
}

#[test]
fn monitoring_finds_new_files_and_keeps_old_splits() {
    let base = tempfile::tempdir().unwrap();
    let options = [("path", "in"), ("format", "json"), ("source.monitor-interval", "250 ms")];
    let source = create(base.path(), schema(&[("a", DataType::Int64)]), &options).unwrap();
    assert!(!source.bounded());
    assert_eq!(source.monitor_interval(), Some(Duration::from_millis(250)));
    assert!(source.splits().unwrap().is_empty());
    fs::create_dir(base.path().join("in")).unwrap();
    fs::write(base.path().join("in/b.json"), "{\"a\":1}\n").unwrap();
    let before = source.splits().unwrap();
    assert_eq!(before, [Split { id: "in/b.json@0".into() }]);
    fs::write(base.path().join("in/_a.json"), "{\"a\":").unwrap();
    assert_eq!(source.splits().unwrap(), before);
    fs::rename(base.path().join("in/_a.json"), base.path().join("in/a.json")).unwrap();
    fs::write(base.path().join("in/a.json"), "{\"a\":2}\n").unwrap();
    let after = source.splits().unwrap();
    assert!(after.len() == 2 && before.iter().all(|split| after.contains(split)));
    assert_eq!(read_all(&source, &[0], 10).unwrap().0, ["2", "1"]);
}

#[test]
fn what_is_wrong_is_said_when_the_table_is_made() {
    let base = tempfile::tempdir().unwrap();
    fs::write(base.path().join("a.csv"), "x,y\n1,2\n").unwrap();
    let columns = || schema(&[("a", DataType::Int64)]);
    for (options, kind, parts) in [
        (vec![("format", "csv")], ErrorKind::Option, ["needs the option 'path'", "glob"]),
        (vec![("path", "a.csv")], ErrorKind::Option, ["needs the option 'format'", "'format'"]),
        (vec![("path", "b.csv"), ("format", "csv")], ErrorKind::Unavailable, ["cannot be found", "b.csv"]),
        (vec![("path", "*.json"), ("format", "json")], ErrorKind::Unavailable, ["cannot be found", "*.json"]),
        (
            vec![("path", "a.csv"), ("format", "json"), ("csv.header", "true")],
            ErrorKind::Option,
            ["csv.header", "json"],
        ),
        (
            vec![("path", "a.csv"), ("format", "csv"), ("csv.header", "true")],
            ErrorKind::Data,
            ["column: a", "names x, y"],
        ),
        (
            vec![("path", "a.csv"), ("format", "json"), ("source.split-size", "0")],
            ErrorKind::Option,
            ["split-size", "0"],
        ),
        (
            vec![("path", "a.csv"), ("format", "csv"), ("csv.field-delimiter", "\"")],
            ErrorKind::Option,
            ["quote", "delimiter"],
        ),
    ] {
        let error = create(base.path(), columns(), &options).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
    let error = create(base.path(), schema(&[("a", DataType::Binary)]), &[("path", "a.csv"), ("format", "csv")]);
    assert!(error.unwrap_err().to_string().contains("column: a"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn csv_gives_back_what_was_written_from_any_position(
        rows in prop::collection::vec((any::<i64>(), "[ -~\\n\u{e9}]{0,12}"), 1..40),
        header in any::<bool>(),
        compressed in any::<bool>(),
        max_rows in 1_usize..10,
    ) {
        let base = tempfile::tempdir().unwrap();
        let mut writer = ::csv::Writer::from_writer(Vec::new());
        if header {
            writer.write_record(["a", "b"]).unwrap();
        }
        for (a, b) in &rows {
            writer.write_record([&a.to_string(), b]).unwrap();
        }
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let name = if compressed { "f.gz" } else { "f" };
        if compressed { gzip(&base.path().join(name), &[&text]) } else { fs::write(base.path().join(name), &text).unwrap() }
        let schema = schema(&[("a", DataType::Int64), ("b", DataType::Utf8View)]);
        let header = if header { "true" } else { "false" };
        let source = create(base.path(), schema, &[("path", name), ("format", "csv"), ("csv.header", header)]).unwrap();
        let expected: Vec<_> = rows.iter().map(|(a, b)| format!("{a}|{b}")).collect();
        prop_assert_eq!(&read_all(&source, &[0, 1], max_rows).unwrap().0, &expected);
        check_resume(&source, &[1, 0]);
    }

    #[test]
    fn malformed_lines_among_good_ones(
        good in prop::collection::vec(prop::bool::weighted(0.8), 1..80),
        size in 1_u64..400,
        max_rows in 1_usize..20,
        nested in any::<bool>(),
        csv in any::<bool>(),
    ) {
        let base = tempfile::tempdir().unwrap();
        let line = |(i, good): (usize, &bool)| match (*good, csv) {
            (true, true) => format!("{i},\n"),
            (false, true) => format!("x{i},\n"),
            (true, false) => format!("{{\"a\":{i}}}\n"),
            (false, false) => format!("{{\"a\":{i}\n"),
        };
        fs::write(base.path().join("f"), good.iter().enumerate().map(line).collect::<String>()).unwrap();
        let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
        let second = if nested && !csv { list } else { DataType::Int64 };
        let schema = schema(&[("a", DataType::Int64), ("b", second)]);
        let size = size.to_string();
        let mut options = vec![("path", "f"), ("format", if csv { "csv" } else { "json" })];
        if !csv {
            options.push(("source.split-size", &size));
        }
        let source = create(base.path(), schema.clone(), &options).unwrap();
        match (read_all(&source, &[0, 1], max_rows), good.iter().position(|good| !good)) {
            (Ok((rows, _)), None) => prop_assert_eq!(rows.len(), good.len()),
            (Err(error), Some(first)) => {
                let expected = format!("line: {}", first + 1);
                prop_assert!(error.to_string().contains(&expected), "{} {}", error, expected);
            }
            (result, first) => prop_assert!(false, "{:?} {:?}", result, first),
        }
        options.push(("format.ignore-parse-errors", "true"));
        let source = create(base.path(), schema, &options).unwrap();
        let (rows, skipped) = read_all(&source, &[0, 1], max_rows).unwrap();
        let expected: Vec<_> = (0..good.len()).filter(|i| good[*i]).map(|i| format!("{i}|NULL")).collect();
        prop_assert_eq!(skipped as usize, good.len() - expected.len());
        prop_assert_eq!(rows, expected);
        check_resume(&source, &[0, 1]);
    }
}

/// Prints decoding speed: `cargo test --release -- --ignored json_speed --nocapture`.
#[test]
#[ignore = "a measurement, not a test"]
fn json_speed() {
    let base = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for i in 0..300_000 {
        text.push_str(&format!(
            "{{\"auction\":{},\"bidder\":{},\"price\":{},\"channel\":\"Google\",\"url\":\"https://www.nexmark.com/abc/def/item.htm?query=1\",\"date_time\":\"2015-07-15 00:00:{:02}.{:03}\",\"extra\":\"abcdefghijklmnopqrstuvwxyz\"}}\n",
            1000 + i / 50, 1000 + i % 977, i * 31, i % 60, i % 1000
        ));
    }
    fs::write(base.path().join("bids.json"), &text).unwrap();
    let schema = schema(&[
        ("auction", DataType::Int64),
        ("bidder", DataType::Int64),
        ("price", DataType::Int64),
        ("channel", DataType::Utf8View),
        ("url", DataType::Utf8View),
        ("date_time", TIME),
        ("extra", DataType::Utf8View),
    ]);
    let source = create(base.path(), schema, &[("path", "bids.json"), ("format", "json")]).unwrap();
    for projection in [&[0, 1, 2, 3, 4, 5, 6][..], &[0, 2, 5][..]] {
        let start = std::time::Instant::now();
        let mut rows = 0;
        for split in source.splits().unwrap() {
            let mut reader = source.open(&split, SplitPosition::default(), projection).unwrap();
            while let Read::Rows(batch) = reader.read(8192).unwrap() {
                rows += batch.num_rows();
            }
        }
        println!("{projection:?}: {:.0} rows/s on one thread", f64::from(rows as u32) / start.elapsed().as_secs_f64());
    }
}
