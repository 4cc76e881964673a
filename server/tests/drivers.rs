//! tokio-postgres against the server: a driver that prepares every statement and speaks the binary format throughout.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use futures::{SinkExt, StreamExt, TryStreamExt, pin_mut};
use tokio_postgres::error::{ErrorPosition, SqlState};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A running server that ends with the test.
struct Server {
    process: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (port, http) = (free_port(), free_port());
        let process = Command::new(Path::new(env!("CARGO_BIN_EXE_frazil")))
            .args(["server", "--commit-interval", "100ms", "-w"])
            .arg(directory.path().join("warehouse"))
            .args(["--pg", &format!("127.0.0.1:{port}"), "--http", &format!("127.0.0.1:{http}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, port, _directory: directory }
    }

    /// A connection, as soon as the server accepts some.
    async fn connect(&self) -> Client {
        let address = format!("host=127.0.0.1 port={} user=tester dbname=frazil", self.port);
        for _ in 0..600 {
            if let Ok((client, connection)) = tokio_postgres::connect(&address, NoTls).await {
                tokio::spawn(connection);
                return client;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the server does not answer");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn code(error: &Error) -> &SqlState {
    error.code().unwrap_or_else(|| panic!("not an error of the server: {error:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn tokio_postgres_works_with_the_server() -> Outcome {
    let server = Server::start();
    let mut client = server.connect().await;
    statements(&client).await?;
    values(&client).await?;
    errors(&client).await?;
    transactions(&mut client).await?;
    portals(&mut client).await?;
    copies(&client).await?;
    cancels(&client).await?;
    Ok(())
}

async fn statements(client: &Client) -> Outcome {
    client.batch_execute("CREATE TABLE items (k BIGINT PRIMARY KEY, s VARCHAR, n INT)").await?;
    let insert = client.prepare("INSERT INTO items VALUES ($1, $2, $3)").await?;
    assert_eq!(insert.params(), [Type::INT8, Type::TEXT, Type::INT4]);
    for k in 0..10_i64 {
        assert_eq!(client.execute(&insert, &[&k, &format!("s{k}"), &(k as i32)]).await?, 1);
    }
    assert_eq!(client.execute("UPDATE items SET s = $1 WHERE k < $2", &[&"new", &3_i64]).await?, 3);
    assert_eq!(client.execute("DELETE FROM items WHERE k >= $1", &[&5_i64]).await?, 5);
    let select = client.prepare("SELECT k, s, n + 1 AS next FROM items WHERE s = $1 ORDER BY k LIMIT $2").await?;
    let columns: Vec<_> = select.columns().iter().map(|column| (column.name(), column.type_().clone())).collect();
    assert_eq!((columns[0].clone(), columns[1].clone()), (("k", Type::INT8), ("s", Type::TEXT)));
    assert_eq!(columns[2].0, "next");
    let rows = client.query(&select, &[&"new", &2_i64]).await?;
    assert_eq!(rows.iter().map(|row| row.get::<_, i64>("k")).collect::<Vec<_>>(), [0, 1]);
    client.batch_execute("CREATE MATERIALIZED VIEW item_count AS SELECT count(*) AS n FROM items").await?;
    let count: i64 = client.query_one("SELECT n FROM item_count", &[]).await?.get(0);
    assert_eq!(count, 5);
    simple_queries(client).await?;
    client.batch_execute("DROP TABLE items CASCADE").await?;
    Ok(())
}

async fn simple_queries(client: &Client) -> Outcome {
    let messages = client.simple_query("SELECT k, NULL AS nothing FROM items WHERE k = 4; SELECT 'x' AS x").await?;
    let rows: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|place| row.get(place)).collect::<Vec<_>>()),
            _ => None,
        })
        .collect();
    assert_eq!(rows, [vec![Some("4"), None], vec![Some("x")]]);
    Ok(())
}

const COLUMNS: &str = "k BIGINT PRIMARY KEY, b BOOLEAN, i INT, r REAL, d DOUBLE, s VARCHAR, y BYTEA, ts TIMESTAMP, \
                       tz TIMESTAMP WITH TIME ZONE, longs BIGINT[], texts VARCHAR[], doubles DOUBLE[]";

async fn values(client: &Client) -> Outcome {
    client.batch_execute(&format!("CREATE TABLE kinds ({COLUMNS})")).await?;
    let insert = client.prepare("INSERT INTO kinds VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)").await?;
    let moment = SystemTime::UNIX_EPOCH + Duration::from_micros(1_709_168_523_000_456);
    let (longs, doubles) = (vec![Some(1_i64), None, Some(-(1 << 62))], vec![0.1_f64, -0.0]);
    let texts = vec![Some("a"), None, Some(""), Some("b \"c\", \\")];
    let full: [&(dyn ToSql + Sync); 12] = [
        &1_i64,
        &true,
        &-5_i32,
        &1.5_f32,
        &2.25_f64,
        &"it's é",
        &&b"\x00\xff"[..],
        &moment,
        &moment,
        &longs,
        &texts,
        &doubles,
    ];
    client.execute(&insert, &full).await?;
    let (none_bool, none_text) = (None::<bool>, None::<&str>);
    let nulls: [&(dyn ToSql + Sync); 12] = [
        &2_i64,
        &none_bool,
        &None::<i32>,
        &None::<f32>,
        &None::<f64>,
        &none_text,
        &None::<Vec<u8>>,
        &None::<SystemTime>,
        &None::<SystemTime>,
        &None::<Vec<i64>>,
        &None::<Vec<String>>,
        &None::<Vec<f64>>,
    ];
    client.execute(&insert, &nulls).await?;
    let row = client.query_one("SELECT * FROM kinds WHERE k = $1", &[&1_i64]).await?;
    assert_eq!((row.get::<_, bool>("b"), row.get::<_, i32>("i"), row.get::<_, f32>("r")), (true, -5, 1.5));
    assert_eq!((row.get::<_, f64>("d"), row.get::<_, &str>("s")), (2.25, "it's é"));
    assert_eq!(row.get::<_, &[u8]>("y"), b"\x00\xff");
    assert_eq!((row.get::<_, SystemTime>("ts"), row.get::<_, SystemTime>("tz")), (moment, moment));
    assert_eq!(row.get::<_, Vec<Option<i64>>>("longs"), longs);
    assert_eq!(row.get::<_, Vec<Option<&str>>>("texts"), texts);
    assert_eq!(row.get::<_, Vec<f64>>("doubles"), doubles);
    let row = client.query_one("SELECT * FROM kinds WHERE k = $1", &[&2_i64]).await?;
    assert_eq!((row.get::<_, Option<bool>>("b"), row.get::<_, Option<&str>>("s")), (None, None));
    assert_eq!(row.get::<_, Option<Vec<i64>>>("longs"), None);
    let found = client.query("SELECT k FROM kinds WHERE k = ANY($1) AND ts = $2", &[&vec![1_i64, 9], &moment]).await?;
    assert_eq!(found.len(), 1);
    let empty: Vec<String> = client.query_one("SELECT $1::VARCHAR[] AS e", &[&Vec::<String>::new()]).await?.get(0);
    assert!(empty.is_empty());
    Ok(())
}

async fn errors(client: &Client) -> Outcome {
    let error = client.query("SELECT * FROM nowhere", &[]).await.unwrap_err();
    assert_eq!(code(&error), &SqlState::UNDEFINED_TABLE);
    let said = error.as_db_error().unwrap();
    assert_eq!(
        (said.position(), said.hint()),
        (Some(&ErrorPosition::Original(15)), Some("SHOW TABLES lists what there is"))
    );
    let error = client.query("SELECT 1 / $1::BIGINT", &[&0_i64]).await.unwrap_err();
    assert_eq!(code(&error), &SqlState::DIVISION_BY_ZERO);
    let error = client.batch_execute("SELEC 1").await.unwrap_err();
    assert_eq!(code(&error), &SqlState::SYNTAX_ERROR);
    assert_eq!(client.query_one("SELECT 1::BIGINT", &[]).await?.get::<_, i64>(0), 1);
    Ok(())
}

async fn count(client: &Client) -> Result<i64, Error> {
    Ok(client.query_one("SELECT count(*) FROM work", &[]).await?.get(0))
}

async fn transactions(client: &mut Client) -> Outcome {
    client.batch_execute("CREATE TABLE work (k BIGINT PRIMARY KEY)").await?;
    let mut transaction = client.transaction().await?;
    transaction.execute("INSERT INTO work VALUES (1)", &[]).await?;
    let savepoint = transaction.savepoint("here").await?;
    savepoint.execute("INSERT INTO work VALUES (2)", &[]).await?;
    savepoint.query("SELECT * FROM nowhere", &[]).await.unwrap_err();
    let error = savepoint.query("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(code(&error), &SqlState::IN_FAILED_SQL_TRANSACTION);
    savepoint.rollback().await?;
    transaction.execute("INSERT INTO work VALUES (3)", &[]).await?;
    transaction.commit().await?;
    assert_eq!(count(client).await?, 2);
    let transaction = client.transaction().await?;
    transaction.execute("DELETE FROM work", &[]).await?;
    transaction.rollback().await?;
    assert_eq!(count(client).await?, 2);
    let transaction = client.build_transaction().read_only(true).start().await?;
    let error = transaction.execute("DELETE FROM work", &[]).await.unwrap_err();
    assert_eq!(code(&error), &SqlState::READ_ONLY_SQL_TRANSACTION);
    transaction.rollback().await?;
    Ok(())
}

async fn portals(client: &mut Client) -> Outcome {
    let transaction = client.transaction().await?;
    let series = "SELECT value FROM generate_series(1, $1::BIGINT) ORDER BY value";
    let portal = transaction.bind(series, &[&10_i64]).await?;
    let mut sizes = Vec::new();
    let mut sum = 0;
    loop {
        let rows = transaction.query_portal(&portal, 4).await?;
        sizes.push(rows.len());
        sum += rows.iter().map(|row| row.get::<_, i64>(0)).sum::<i64>();
        if rows.len() < 4 {
            break;
        }
    }
    assert_eq!((sizes, sum), (vec![4, 4, 2], 55));
    drop(portal);
    transaction.batch_execute("DECLARE c CURSOR FOR SELECT value FROM generate_series(1, 5) ORDER BY value").await?;
    assert_eq!(transaction.query("FETCH 3 FROM c", &[]).await?.len(), 3);
    assert_eq!(transaction.query("FETCH ALL FROM c", &[]).await?.len(), 2);
    transaction.commit().await?;
    Ok(())
}

async fn copies(client: &Client) -> Outcome {
    client.batch_execute("CREATE TABLE copied (k BIGINT PRIMARY KEY, s VARCHAR)").await?;
    let sink = client.copy_in("COPY copied FROM STDIN").await?;
    pin_mut!(sink);
    for k in 0..1000 {
        let line = if k % 2 == 0 { format!("{k}\trow {k}\n") } else { format!("{k}\t\\N\n") };
        sink.send(bytes::Bytes::from(line)).await?;
    }
    assert_eq!(sink.finish().await?, 1000);
    let stream = client.copy_out("COPY (SELECT * FROM copied WHERE k < 3 ORDER BY k) TO STDOUT (FORMAT csv)").await?;
    let parts: Vec<bytes::Bytes> = stream.try_collect().await?;
    assert_eq!(parts.concat(), b"0,row 0\n1,\n2,row 2\n");
    // A sink that is dropped before its end copies nothing.
    {
        let sink = client.copy_in::<_, bytes::Bytes>("COPY copied FROM STDIN").await?;
        pin_mut!(sink);
        sink.send(bytes::Bytes::from_static(b"5000\tlost\n")).await?;
    }
    assert_eq!(client.query_one("SELECT count(*) FROM copied", &[]).await?.get::<_, i64>(0), 1000);
    let sink = client.copy_in("COPY copied FROM STDIN").await?;
    pin_mut!(sink);
    sink.send(bytes::Bytes::from_static(b"zero\tx\n")).await?;
    let error = sink.finish().await.unwrap_err();
    assert_eq!(code(&error), &SqlState::INVALID_TEXT_REPRESENTATION);
    Ok(())
}

async fn cancels(client: &Client) -> Outcome {
    let token = client.cancel_token();
    let many = "generate_series(1, 1000000)";
    let query = format!("SELECT count(*) FROM {many} AS a (x), {many} AS b (y) WHERE (x * y) % 7 = 3");
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        token.cancel_query(NoTls).await
    };
    let (answer, cancelled) =
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(client.query(&query, &[]), cancel) })
            .await?;
    cancelled?;
    assert_eq!(code(&answer.unwrap_err()), &SqlState::QUERY_CANCELED);
    // Rows of an endless answer stop as well.
    let rows = client.query_raw::<_, i64, _>("SELECT 1::BIGINT", Vec::new()).await?;
    assert_eq!(rows.map(|row| row.map(|row| row.get::<_, i64>(0))).try_collect::<Vec<_>>().await?, [1]);
    Ok(())
}
