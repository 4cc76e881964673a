//! The Nexmark queries in Flink's spelling are read, rewritten and planned by DataFusion, and run over empty tables.

use datafusion::prelude::SessionContext;

use crate::sql::functions;
use crate::sql::parse::parse;
use crate::sql::statement::Statement;

const TABLES: [&str; 3] = [
    "CREATE TABLE person (id BIGINT, name VARCHAR, \"emailAddress\" VARCHAR, city VARCHAR, state VARCHAR, ts TIMESTAMP(3), extra VARCHAR)",
    "CREATE TABLE auction (id BIGINT, itemName VARCHAR, initialBid BIGINT, reserve BIGINT, ts TIMESTAMP(3), expires TIMESTAMP(3), \
     seller BIGINT, category BIGINT, extra VARCHAR)",
    "CREATE TABLE bid (auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, ts TIMESTAMP(3), extra VARCHAR)",
];

const QUERIES: [&str; 18] = [
    "SELECT auction, bidder, 0.908 * price as price, ts, extra FROM bid",
    "SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0",
    "SELECT P.name, P.city, P.state, A.id FROM auction AS A INNER JOIN person AS P on A.seller = P.id
     WHERE A.category = 10 and (P.state = 'OR' OR P.state = 'ID' OR P.state = 'CA')",
    "SELECT Q.category, AVG(Q.final) FROM (SELECT MAX(B.price) AS final, A.category FROM auction A, bid B
     WHERE A.id = B.auction AND B.ts BETWEEN A.ts AND A.expires GROUP BY A.id, A.category) Q GROUP BY Q.category",
    "SELECT AuctionBids.auction, AuctionBids.num FROM (
       SELECT auction, count(*) AS num, window_start AS starttime, window_end AS endtime
       FROM TABLE(HOP(TABLE bid, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
       GROUP BY auction, window_start, window_end) AS AuctionBids
     JOIN (SELECT max(CountBids.num) AS maxn, CountBids.starttime, CountBids.endtime FROM (
       SELECT count(*) AS num, window_start AS starttime, window_end AS endtime
       FROM TABLE(HOP(TABLE bid, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
       GROUP BY auction, window_start, window_end) AS CountBids GROUP BY CountBids.starttime, CountBids.endtime) AS MaxBids
     ON AuctionBids.starttime = MaxBids.starttime AND AuctionBids.endtime = MaxBids.endtime AND AuctionBids.num >= MaxBids.maxn",
    "SELECT B.auction, B.price, B.bidder, B.ts, B.extra from bid B JOIN (
       SELECT MAX(price) AS maxprice, window_end as ts FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND))
       GROUP BY window_start, window_end) B1 ON B.price = B1.maxprice WHERE B.ts BETWEEN B1.ts - INTERVAL '10' SECOND AND B1.ts",
    "SELECT P.id, P.name, P.starttime FROM (
       SELECT id, name, window_start AS starttime, window_end AS endtime
       FROM TABLE(TUMBLE(TABLE person, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY id, name, window_start, window_end) P
     JOIN (SELECT seller, window_start AS starttime, window_end AS endtime
       FROM TABLE(TUMBLE(TABLE auction, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY seller, window_start, window_end) A
     ON P.id = A.seller AND P.starttime = A.starttime AND P.endtime = A.endtime",
    "SELECT id, itemName, auction, bidder, price, bid_ts FROM (
       SELECT A.*, B.auction, B.bidder, B.price, B.ts AS bid_ts,
         ROW_NUMBER() OVER (PARTITION BY A.id ORDER BY B.price DESC, B.ts ASC) AS rownum
       FROM auction A, bid B WHERE A.id = B.auction AND B.ts BETWEEN A.ts AND A.expires) WHERE rownum <= 1",
    "SELECT auction, bidder, price, ts, extra, DATE_FORMAT(ts, 'yyyy-MM-dd'), DATE_FORMAT(ts, 'HH:mm') FROM bid",
    "SELECT B.bidder, count(*) as bid_count, window_start, window_end
     FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND)) B GROUP BY B.bidder, window_start, window_end",
    "SELECT auction, bidder, 0.908 * price as price,
       CASE WHEN HOUR(ts) >= 8 AND HOUR(ts) <= 18 THEN 'dayTime' WHEN HOUR(ts) <= 6 OR HOUR(ts) >= 20 THEN 'nightTime'
         ELSE 'otherTime' END AS bidTimeType, ts, extra, count_char(extra, 'c') AS c_counts
     FROM bid WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000",
    "SELECT DATE_FORMAT(ts, 'yyyy-MM-dd') as `day`, count(*) AS total_bids,
       count(*) filter (where price < 10000) AS rank1_bids, count(distinct bidder) filter (where price >= 1000000) AS rank3_bidders
     FROM bid GROUP BY DATE_FORMAT(ts, 'yyyy-MM-dd')",
    "SELECT channel, DATE_FORMAT(ts, 'yyyy-MM-dd') as `day`, max(DATE_FORMAT(ts, 'HH:mm')) as `minute`, count(distinct auction)
     FROM bid GROUP BY channel, DATE_FORMAT(ts, 'yyyy-MM-dd')",
    "SELECT auction, bidder, price, channel, url, ts, extra FROM (
       SELECT *, ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY ts DESC) AS rank_number FROM bid) WHERE rank_number <= 1",
    "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC) AS rank_number FROM bid)
     WHERE rank_number <= 10",
    "SELECT auction, bidder, price, channel, url, B.ts, B.extra, itemName, initialBid, reserve, A.ts AS ats, expires, seller,
       category, A.extra AS aextra FROM bid AS B INNER JOIN auction AS A on B.auction = A.id WHERE A.category = 10",
    "SELECT auction, bidder, price, channel,
       CASE WHEN lower(channel) = 'apple' THEN '0' WHEN lower(channel) = 'google' THEN '1' WHEN lower(channel) = 'facebook' THEN '2'
         WHEN lower(channel) = 'baidu' THEN '3' ELSE REGEXP_EXTRACT(url, '(&|^)channel_id=([^&]*)', 2) END AS channel_id
     FROM bid where REGEXP_EXTRACT(url, '(&|^)channel_id=([^&]*)', 2) is not null
       or lower(channel) in ('apple', 'google', 'facebook', 'baidu')",
    "SELECT auction, bidder, price, channel, SPLIT_INDEX(url, '/', 3) as dir1, SPLIT_INDEX(url, '/', 4) as dir2 FROM bid",
];

async fn session() -> SessionContext {
    let mut context = SessionContext::new();
    functions::register(&mut context).unwrap();
    for sql in TABLES {
        let Statement::CreateTable(table) = parse(sql).unwrap().remove(0).statement else { panic!("{sql}") };
        let fields = table
            .columns
            .iter()
            .map(|c| arrow::datatypes::Field::new(&c.name, c.data_type.clone().unwrap(), c.nullable));
        let schema = arrow::datatypes::Schema::new(fields.collect::<Vec<_>>());
        let empty = arrow::record_batch::RecordBatch::new_empty(schema.into());
        context.register_batch(&table.name, empty).unwrap();
    }
    context
}

#[tokio::test]
async fn nexmark_queries_are_planned_and_run() {
    let context = session().await;
    for sql in QUERIES {
        let parsed =
            parse(&format!("INSERT INTO sink {sql}")).unwrap_or_else(|error| panic!("{sql}: {error}")).remove(0);
        let Statement::Insert(insert) = parsed.statement else { panic!("{sql}") };
        let query = datafusion::sql::sqlparser::ast::Statement::Query(Box::new(insert.query));
        let query = datafusion::sql::parser::Statement::Statement(Box::new(query));
        let plan = context.state().statement_to_plan(query).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let frame = context.execute_logical_plan(plan).await.unwrap();
        let batches = frame.collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 0, "{sql}");
    }
}
