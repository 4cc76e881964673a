//! Users and their rights.

use catalog::Privilege;

use super::{canonical, fails, one};
use crate::sql::statement::{AccessStatement, GrantOn, Statement};

#[test]
fn canonical_texts() {
    for (text, expected) in [
        ("create user Ann with superuser login encrypted password 'x'", "CREATE USER ann"),
        ("create role if not exists \"A b\" nologin", "CREATE USER \"A b\""),
        ("alter role ann password null", "ALTER USER ann"),
        ("alter user ann with nosuperuser", "ALTER USER ann"),
        ("drop role if exists a, b", "DROP USER IF EXISTS a, b"),
        ("grant select, insert on table t, V to bob, public", "GRANT SELECT, INSERT ON t, v TO bob, PUBLIC"),
        (
            "grant all privileges on all tables in schema public to bob",
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO bob",
        ),
        ("grant create on schema public to bob", "GRANT CREATE ON SCHEMA public TO bob"),
        ("revoke update on t from bob cascade", "REVOKE UPDATE ON t FROM bob"),
        ("alter materialized view v owner to bob", "ALTER TABLE v OWNER TO bob"),
        ("alter job j owner to bob", "ALTER JOB j OWNER TO bob"),
        ("reassign owned by ann to bob", "REASSIGN OWNED BY ann TO bob"),
        ("show roles", "SHOW USERS"),
        ("show grants", "SHOW GRANTS"),
    ] {
        assert_eq!(canonical(text), expected, "{text}");
    }
}

#[test]
fn what_a_user_gets_is_what_was_said() {
    let Statement::Access(AccessStatement::PutUser(user)) = one("CREATE USER u SUPERUSER PASSWORD 'it''s'").statement
    else {
        panic!("no user")
    };
    assert_eq!((user.superuser, user.password), (Some(true), Some(Some("it's".to_owned()))));
    let Statement::Access(AccessStatement::PutUser(user)) = one("ALTER USER u PASSWORD 'a' NOSUPERUSER").statement
    else {
        panic!("no user")
    };
    assert!(!user.create && user.superuser == Some(false));
    // Whatever prints a statement prints no password.
    assert!(!format!("{:?}", one("CREATE USER u PASSWORD 'secret'")).contains("secret"));
    let Statement::Access(AccessStatement::Grant(grant)) = one("GRANT TRUNCATE ON t TO PUBLIC").statement else {
        panic!("no grant")
    };
    assert_eq!((grant.privileges.as_slice(), grant.users.as_slice()), (&[Privilege::Truncate][..], &[None][..]));
    assert!(matches!(grant.on, GrantOn::Objects(objects) if objects[0].0 == "t"));
}

#[test]
fn what_is_not_supported_is_refused() {
    for (text, says) in [
        ("CREATE USER u PASSWORD ''", "at least one character"),
        ("CREATE USER u PASSWORD secret", "in single quotes"),
        ("CREATE USER u VALID UNTIL '2030-01-01'", "VALID of a user is not supported"),
        ("CREATE ROLE r CREATEDB", "CREATEDB of a user is not supported"),
        ("GRANT ann TO bob", "expected a privilege"),
        ("GRANT SELECT TO bob", "members"),
        ("GRANT SELECT (a) ON t TO bob", "single columns"),
        ("GRANT USAGE ON SCHEMA public TO bob", "USAGE is not supported"),
        ("GRANT SELECT ON SCHEMA public TO bob", "no privilege SELECT on the schema"),
        ("GRANT CREATE ON t TO bob", "no privilege CREATE on tables"),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA other TO bob", "no schema other"),
        ("GRANT SELECT ON t TO bob WITH GRANT OPTION", "GRANT OPTION"),
        ("REVOKE GRANT OPTION FOR SELECT ON t FROM bob", "GRANT OPTION"),
        ("GRANT SELECT ON t FROM bob", "expected TO"),
        ("ALTER TABLE t ADD COLUMN a INT", "ALTER is not supported but for users and owners"),
    ] {
        let (error, ..) = fails(text);
        assert!(error.contains(says), "{text}: {error}");
    }
}
