//! What users may do, over a small catalog: bob owns `t` and the plain view `v` of `t`; `k` has a key and is nobody's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use catalog::{Grant, Job, JobKind, JobStatus, Object, User};

use super::*;
use crate::sql::parse::parse;

const ANN: &str = "ann";
const BOB: &str = "bob";

fn object(id: i64, name: &str, kind: ObjectKind, depends_on: &[i64]) -> (ObjectId, Arc<Object>) {
    let object = Object {
        id: ObjectId(id),
        name: name.into(),
        kind,
        sql: String::new(),
        columns: vec![],
        key: if name == "k" { vec!["id".into()] } else { vec![] },
        insert_only: false,
        properties: BTreeMap::new(),
        depends_on: depends_on.iter().copied().map(ObjectId).collect(),
    };
    (ObjectId(id), Arc::new(object))
}

fn snapshot() -> Snapshot {
    let user = |name: &str, superuser| (name.to_owned(), User { name: name.into(), superuser, verifier: None });
    let job = Job {
        id: ObjectId(9),
        name: "j".into(),
        kind: JobKind::Insert,
        sql: String::new(),
        targets: vec![],
        inputs: vec![],
        settings: BTreeMap::new(),
        status: JobStatus::Running,
        error: None,
        checkpoint: None,
    };
    Snapshot {
        objects: BTreeMap::from([
            object(1, "t", ObjectKind::Table, &[]),
            object(2, "v", ObjectKind::View, &[1]),
            object(3, "k", ObjectKind::Table, &[]),
        ]),
        jobs: BTreeMap::from([(ObjectId(9), Arc::new(job))]),
        access: Arc::new(Access {
            users: BTreeMap::from([user("root", true), user(ANN, false), user(BOB, false)]),
            owners: [1, 2, 9].map(|id| (ObjectId(id), BOB.to_owned())).into(),
            grants: BTreeSet::new(),
        }),
        ..Snapshot::default()
    }
}

fn granted(mut snapshot: Snapshot, grants: &[(Option<i64>, Option<&str>, Privilege)]) -> Snapshot {
    let grants = grants.iter().map(|(object, user, privilege)| Grant {
        object: object.map(ObjectId),
        user: user.map(str::to_owned),
        privilege: *privilege,
    });
    Arc::make_mut(&mut snapshot.access).grants.extend(grants);
    snapshot
}

fn may(snapshot: &Snapshot, user: &str, sql: &str) -> bool {
    let parsed = parse(sql).unwrap();
    let permitted =
        Rights::of(snapshot, Some(user)).and_then(|rights| parsed.iter().try_for_each(|s| rights.permit(&s.statement)));
    match permitted {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Denied, "{sql}: {error}");
            false
        }
    }
}

/// Statements about `t` and `k` with what else than the first's owner needs for them.
const STATEMENTS: &[(&str, &[(i64, Privilege)])] = &[
    ("SELECT * FROM t", &[(1, Privilege::Select)]),
    ("WITH x AS (SELECT 1) SELECT * FROM x WHERE EXISTS (SELECT 1 FROM t)", &[(1, Privilege::Select)]),
    ("EXPLAIN SELECT * FROM t", &[(1, Privilege::Select)]),
    ("SUBSCRIBE TO t", &[(1, Privilege::Select)]),
    ("COPY t TO STDOUT", &[(1, Privilege::Select)]),
    ("DECLARE c CURSOR FOR SELECT * FROM t", &[(1, Privilege::Select)]),
    ("INSERT INTO t VALUES (1)", &[(1, Privilege::Insert)]),
    ("COPY t FROM STDIN", &[(1, Privilege::Insert)]),
    ("INSERT INTO t SELECT * FROM k", &[(1, Privilege::Insert), (3, Privilege::Select)]),
    ("INSERT OVERWRITE t SELECT 1", &[(1, Privilege::Insert), (1, Privilege::Delete)]),
    ("INSERT INTO k VALUES (1)", &[(3, Privilege::Insert), (3, Privilege::Update)]),
    ("INSERT INTO k VALUES (1) ON CONFLICT DO NOTHING", &[(3, Privilege::Insert)]),
    ("UPDATE t SET a = 1", &[(1, Privilege::Update), (1, Privilege::Select)]),
    (
        "UPDATE t SET a = (SELECT max(id) FROM k)",
        &[(1, Privilege::Update), (1, Privilege::Select), (3, Privilege::Select)],
    ),
    ("DELETE FROM t WHERE a = 1", &[(1, Privilege::Delete), (1, Privilege::Select)]),
    (
        "MERGE INTO t USING k ON a = id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (a) VALUES (1)",
        &[(1, Privilege::Select), (1, Privilege::Delete), (1, Privilege::Insert), (3, Privilege::Select)],
    ),
    ("TRUNCATE t", &[(1, Privilege::Truncate)]),
];

#[test]
fn each_statement_needs_each_of_its_privileges() {
    let bare = snapshot();
    for (sql, needs) in STATEMENTS {
        assert!(may(&bare, "root", sql), "{sql}");
        assert!(!may(&bare, ANN, sql), "{sql}");
        let all: Vec<_> = needs.iter().map(|(object, privilege)| (Some(*object), Some(ANN), *privilege)).collect();
        assert!(may(&granted(bare.clone(), &all), ANN, sql), "{sql}");
        let public: Vec<_> = all.iter().map(|(object, _, privilege)| (*object, None, *privilege)).collect();
        assert!(may(&granted(bare.clone(), &public), ANN, sql), "{sql}");
        for missing in 0..all.len() {
            let mut some = all.clone();
            some.remove(missing);
            assert!(!may(&granted(bare.clone(), &some), ANN, sql), "{sql} without {:?}", needs[missing]);
        }
    }
}

#[test]
fn owners_need_no_grants_and_others_cannot_own() {
    let bare = snapshot();
    let of_owners = [
        "DROP TABLE t",
        "GRANT SELECT ON t TO ann",
        "REVOKE ALL ON t FROM PUBLIC",
        "DROP JOB j",
        "PAUSE JOB j",
        "SELECT * FROM t, v",
    ];
    for sql in of_owners {
        assert!(may(&bare, BOB, sql) && may(&bare, "root", sql) && !may(&bare, ANN, sql), "{sql}");
    }
}

#[test]
fn creating_is_granted() {
    let bare = snapshot();
    let creating = granted(bare.clone(), &[(None, Some(BOB), Privilege::Create)]);
    for sql in [
        "CREATE TABLE n (a BIGINT)",
        "CREATE VIEW n AS SELECT * FROM t",
        "CREATE MATERIALIZED VIEW n AS SELECT * FROM t",
        "CREATE OR REPLACE VIEW v AS SELECT * FROM t",
        "CREATE TABLE n (a BIGINT) WITH ('connector' = 'blackhole')",
        "CREATE FUNCTION f(x BIGINT) RETURNS BIGINT LANGUAGE SQL AS 'x + 1'",
    ] {
        assert!(!may(&bare, BOB, sql) && may(&creating, BOB, sql), "{sql}");
    }
    for sql in [
        "CREATE MATERIALIZED VIEW n AS SELECT * FROM k",
        "CREATE OR REPLACE TABLE k (a BIGINT)",
        "CREATE TABLE n (a BIGINT) WITH ('connector' = 'filesystem', 'path' = '/etc/passwd', 'format' = 'csv')",
    ] {
        assert!(!may(&creating, BOB, sql) && may(&creating, "root", sql), "{sql}");
    }
}

#[test]
fn a_view_reads_with_the_rights_of_its_owner() {
    let reads_view = granted(snapshot(), &[(Some(2), Some(ANN), Privilege::Select)]);
    assert!(may(&reads_view, ANN, "SELECT * FROM v") && !may(&reads_view, ANN, "SELECT * FROM v, t"));
    // The owner loses what the view reads.
    let mut lost = reads_view;
    Arc::make_mut(&mut lost.access).owners.insert(ObjectId(1), "root".into());
    assert!(!may(&lost, ANN, "SELECT * FROM v") && !may(&lost, BOB, "SELECT * FROM v"));
    assert!(may(&lost, "root", "SELECT * FROM v"));
}

#[test]
fn users_are_managed_by_superusers_and_passwords_by_their_owners() {
    let bare = snapshot();
    for sql in [
        "CREATE USER n PASSWORD 'x'",
        "ALTER USER bob PASSWORD 'x'",
        "ALTER USER ann SUPERUSER",
        "ALTER USER ann PASSWORD NULL",
        "DROP USER bob",
        "GRANT CREATE ON SCHEMA public TO ann",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO ann",
        "ALTER TABLE t OWNER TO ann",
        "REASSIGN OWNED BY bob TO ann",
    ] {
        assert!(!may(&bare, ANN, sql) && may(&bare, "root", sql), "{sql}");
    }
    assert!(may(&bare, ANN, "ALTER USER ann PASSWORD 'new'"));
}

#[test]
fn without_users_everything_is_allowed_and_strangers_are_refused() {
    let mut open = snapshot();
    open.access = Arc::default();
    assert!(may(&open, "anybody", "DROP TABLE t"));
    assert!(!may(&snapshot(), "anybody", "SHOW TABLES"));
    assert!(Rights::of(&snapshot(), None).unwrap().permit(&parse("DROP TABLE t").unwrap()[0].statement).is_ok());
}

#[test]
fn what_is_not_there_is_left_to_planning() {
    assert!(may(&snapshot(), ANN, "SELECT * FROM nothing"));
    assert!(may(&snapshot(), ANN, "DROP TABLE IF EXISTS nothing"));
}

#[test]
fn a_superuser_remains() {
    let mut access = Access::default();
    assert!(is_manageable(&access));
    let user =
        |superuser, verifier: Option<&str>| User { name: "x".into(), superuser, verifier: verifier.map(str::to_owned) };
    for (superuser, verifier, manageable) in [(false, Some("v"), false), (true, None, false), (true, Some("v"), true)] {
        access.users.insert("x".into(), user(superuser, verifier));
        assert_eq!(is_manageable(&access), manageable);
    }
}
