//! CREATE USER, ALTER USER, DROP USER, GRANT, REVOKE, OWNER TO: the part of PostgreSQL's grammar that means something here.

use catalog::Privilege;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, quoted};
use super::{Parsed, comma_separated};
use crate::error::{Error, Result};
use crate::sql::statement::{AccessStatement, GrantOn, GrantStatement, PutUser, Statement, privilege_name};

const USER: &str = "CREATE USER name [SUPERUSER] PASSWORD '...'";
const GRANT: &str = "GRANT SELECT, INSERT ON t TO user";

/// Words of PostgreSQL's CREATE ROLE that say what is the case here anyway.
const IDLE_OPTIONS: [&str; 8] =
    ["login", "inherit", "noinherit", "nocreatedb", "nocreaterole", "noreplication", "nobypassrls", "encrypted"];

fn access(statement: AccessStatement, text: String) -> Parsed {
    (Statement::Access(statement), text)
}

/// Whether `USER` or `ROLE` comes after so many words.
pub(super) fn is_user(cursor: &Cursor, after: usize) -> bool {
    matches!(cursor.word_at(after), Some("user" | "role"))
}

/// What follows `CREATE` or `ALTER`: `USER name ...`.
pub(super) fn put_user(cursor: &mut Cursor, create: bool) -> Result<Parsed> {
    cursor.advance();
    let if_not_exists = create && cursor.accept("if not exists");
    let name = cursor.name("the user's name")?;
    let mut user = PutUser { name, create, if_not_exists, superuser: None, password: None };
    cursor.accept("with");
    loop {
        let position = cursor.position();
        if cursor.accept("superuser") {
            user.superuser = Some(true);
        } else if cursor.accept("nosuperuser") {
            user.superuser = Some(false);
        } else if cursor.accept("nologin") || cursor.accept("password null") {
            user.password = Some(None);
        } else if cursor.accept("password") {
            user.password = Some(Some(password(cursor)?));
        } else if let Some(word) = cursor.word().filter(|word| IDLE_OPTIONS.contains(word)).map(str::to_owned) {
            cursor.accept(&word);
        } else {
            break;
        }
        if user.password == Some(Some(String::new())) {
            return Err(Error::sql("a password needs at least one character").at(position));
        }
    }
    if let Some(
        word @ ("createdb" | "createrole" | "replication" | "bypassrls" | "valid" | "connection" | "in" | "role"
        | "admin" | "sysid"),
    ) = cursor.word()
    {
        let message = format!("{} of a user is not supported", word.to_uppercase());
        return Err(Error::sql(message).hint(format!("write {USER}")).at(cursor.position()));
    }
    let verb = if create { "CREATE" } else { "ALTER" };
    let text = format!("{verb} USER {}", quoted(&user.name));
    Ok(access(AccessStatement::PutUser(user), text))
}

fn password(cursor: &mut Cursor) -> Result<String> {
    match cursor.peek() {
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => {
            let text = text.clone();
            cursor.advance();
            Ok(text)
        }
        _ => Err(cursor.unexpected("a password in single quotes", USER)),
    }
}

/// What follows `DROP`: `USER [IF EXISTS] name, ...`.
pub(super) fn drop_users(cursor: &mut Cursor) -> Result<Parsed> {
    cursor.advance();
    let if_exists = cursor.accept("if exists");
    let names = names(cursor, "the user's name")?;
    let text = format!("DROP USER {}{}", if if_exists { "IF EXISTS " } else { "" }, comma_separated(&names));
    Ok(access(AccessStatement::DropUsers { names, if_exists }, text))
}

fn names(cursor: &mut Cursor, what: &str) -> Result<Vec<String>> {
    let mut names = vec![cursor.name(what)?];
    while cursor.accept_token(&Token::Comma) {
        names.push(cursor.name(what)?);
    }
    Ok(names)
}

/// `GRANT ... ON ... TO ...`, `REVOKE ... ON ... FROM ...`.
pub(super) fn grant(cursor: &mut Cursor, revoke: bool) -> Result<Parsed> {
    cursor.advance();
    if revoke && cursor.word() == Some("grant") {
        return Err(no_grant_option().at(cursor.position()));
    }
    let (privileges, mut text) = privileges(cursor)?;
    if !cursor.accept("on") {
        let error = Error::sql("users are no members of other users: only privileges are granted");
        return Err(error.hint(format!("write {GRANT}")).at(cursor.position()));
    }
    let position = cursor.position();
    let on = grant_on(cursor, &mut text)?;
    let namespace = matches!(on, GrantOn::Namespace);
    if let Some(wrong) = privileges.iter().find(|privilege| (**privilege == Privilege::Create) != namespace) {
        let what = if namespace { "the schema" } else { "tables and views" };
        return Err(Error::sql(format!("there is no privilege {} on {what}", privilege_name(*wrong)))
            .hint("on tables and views: SELECT, INSERT, UPDATE, DELETE, TRUNCATE, ALL; on SCHEMA public: CREATE")
            .at(position));
    }
    let preposition = if revoke { "from" } else { "to" };
    cursor.expect(preposition, if revoke { "REVOKE SELECT ON t FROM user" } else { GRANT })?;
    let mut users = Vec::new();
    let mut shown = Vec::new();
    loop {
        let public = cursor.accept("public");
        let user = if public { None } else { Some(cursor.name("the user's name")?) };
        shown.push(user.as_deref().map_or_else(|| "PUBLIC".to_owned(), quoted));
        users.push(user);
        if !cursor.accept_token(&Token::Comma) {
            break;
        }
    }
    if cursor.word() == Some("with") {
        return Err(no_grant_option().at(cursor.position()));
    }
    // The default, as in PostgreSQL: nobody has granted further what was granted to them.
    let _ = revoke && (cursor.accept("restrict") || cursor.accept("cascade"));
    let verb = if revoke { "REVOKE" } else { "GRANT" };
    let text = format!("{verb} {text} {} {}", preposition.to_uppercase(), shown.join(", "));
    Ok(access(AccessStatement::Grant(GrantStatement { revoke, privileges, on, users }), text))
}

fn no_grant_option() -> Error {
    Error::sql("GRANT OPTION is not supported: owners and superusers grant").hint(format!("write {GRANT}"))
}

/// Privileges, and how they are written.
fn privileges(cursor: &mut Cursor) -> Result<(Vec<Privilege>, String)> {
    const KNOWN: [Privilege; 6] = [
        Privilege::Select,
        Privilege::Insert,
        Privilege::Update,
        Privilege::Delete,
        Privilege::Truncate,
        Privilege::Create,
    ];
    if cursor.accept("all") {
        cursor.accept("privileges");
        return Ok((Vec::new(), "ALL".to_owned()));
    }
    let mut privileges = Vec::new();
    loop {
        let word = cursor.word().unwrap_or_default().to_uppercase();
        let Some(known) = KNOWN.iter().find(|known| privilege_name(**known) == word) else {
            return Err(match word.as_str() {
                "REFERENCES" | "TRIGGER" | "USAGE" | "EXECUTE" | "CONNECT" | "TEMPORARY" | "TEMP" | "MAINTAIN" => {
                    Error::sql(format!("the privilege {word} is not supported"))
                        .hint("SELECT, INSERT, UPDATE, DELETE, TRUNCATE and, on SCHEMA public, CREATE are")
                        .at(cursor.position())
                }
                _ => cursor.unexpected("a privilege", GRANT),
            });
        };
        cursor.advance();
        if cursor.peek() == &Token::LParen {
            let error = Error::sql("privileges on single columns are not supported");
            return Err(error.hint("create a view of those columns and grant that").at(cursor.position()));
        }
        privileges.push(*known);
        if !cursor.accept_token(&Token::Comma) {
            break;
        }
    }
    let shown: Vec<_> = privileges.iter().map(|privilege| privilege_name(*privilege)).collect();
    let shown = shown.join(", ");
    Ok((privileges, shown))
}

fn grant_on(cursor: &mut Cursor, text: &mut String) -> Result<GrantOn> {
    if cursor.accept("all tables in schema") {
        schema(cursor)?;
        text.push_str(" ON ALL TABLES IN SCHEMA public");
        return Ok(GrantOn::All);
    }
    if cursor.accept("schema") {
        schema(cursor)?;
        text.push_str(" ON SCHEMA public");
        return Ok(GrantOn::Namespace);
    }
    cursor.accept("table");
    let mut objects = Vec::new();
    loop {
        let position = cursor.position();
        objects.push((cursor.name("the name of a table or view")?, position));
        if !cursor.accept_token(&Token::Comma) {
            break;
        }
    }
    let shown: Vec<_> = objects.iter().map(|(name, _)| quoted(name)).collect();
    text.push_str(&format!(" ON {}", shown.join(", ")));
    Ok(GrantOn::Objects(objects))
}

fn schema(cursor: &mut Cursor) -> Result<()> {
    let position = cursor.position();
    match cursor.name("the schema's name")?.as_str() {
        "public" => Ok(()),
        other => Err(Error::sql(format!("there is no schema {other}")).hint("there is one: public").at(position)),
    }
}

/// `ALTER TABLE | VIEW | MATERIALIZED VIEW | FUNCTION | JOB name OWNER TO user`. `None` if it is another ALTER.
pub(super) fn set_owner(cursor: &mut Cursor) -> Result<Option<Parsed>> {
    let words = match cursor.word_at(1) {
        Some("materialized") if cursor.word_at(2) == Some("view") => 3,
        Some("table" | "view" | "function" | "job") => 2,
        _ => return Ok(None),
    };
    if cursor.word_at(words + 1) != Some("owner") {
        return Ok(None);
    }
    let is_job = cursor.word_at(1) == Some("job");
    for _ in 0..words {
        cursor.advance();
    }
    let name = cursor.name("a name")?;
    cursor.expect("owner to", "ALTER TABLE t OWNER TO user")?;
    let user = cursor.name("the user's name")?;
    let kind = if is_job { "JOB" } else { "TABLE" };
    let text = format!("ALTER {kind} {} OWNER TO {}", quoted(&name), quoted(&user));
    Ok(Some(access(AccessStatement::SetOwner { name, is_job, user }, text)))
}

/// `REASSIGN OWNED BY user TO user`.
pub(super) fn reassign(cursor: &mut Cursor) -> Result<Parsed> {
    const EXAMPLE: &str = "REASSIGN OWNED BY user TO user";
    cursor.expect("reassign owned by", EXAMPLE)?;
    let from = cursor.name("the user's name")?;
    cursor.expect("to", EXAMPLE)?;
    let to = cursor.name("the user's name")?;
    let text = format!("REASSIGN OWNED BY {} TO {}", quoted(&from), quoted(&to));
    Ok(access(AccessStatement::Reassign { from, to }, text))
}
