//! Ways to write a statement of a file otherwise that may not matter: rows one by one, or in another order.

use std::collections::BTreeSet;

/// Splits `INSERT INTO t VALUES (1), (2)` into what stands before the rows, VALUES included, and the rows; nothing if it is another
/// statement, or if something follows the rows.
pub fn inserted_rows(sql: &str) -> Option<(&str, Vec<String>)> {
    if !word(sql, 0)?.eq_ignore_ascii_case("INSERT") {
        return None;
    }
    let after = sql.to_ascii_uppercase().find("VALUES")? + "VALUES".len();
    let (head, values) = sql.split_at_checked(after)?;
    Some((head, rows_of(values)?)).filter(|(_, rows)| !rows.is_empty())
}

/// Splits `(1, 'a'), (2, 'b')` into its rows; nothing if something else is there.
fn rows_of(values: &str) -> Option<Vec<String>> {
    let (mut rows, mut depth, mut quoted, mut row) = (Vec::new(), 0_usize, false, String::new());
    for c in values.chars() {
        let outside = depth == 0;
        match c {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if outside && depth == 0 {
            if c != ',' && !c.is_whitespace() {
                return None;
            }
            continue;
        }
        row.push(c);
        if depth == 0 {
            rows.push(std::mem::take(&mut row));
        }
    }
    (depth == 0 && !quoted).then_some(rows)
}

fn word(sql: &str, place: usize) -> Option<&str> {
    sql.split(|c: char| c.is_whitespace() || c == '(').filter(|word| !word.is_empty()).nth(place)
}

/// What a file's statements say about its tables, as far as the order of rows depends on it.
#[derive(Debug, Default)]
pub struct Inserts {
    keyed: BTreeSet<String>,
}

impl Inserts {
    /// Takes note of a statement.
    pub fn note(&mut self, sql: &str) {
        let words: Vec<String> = (0..2).filter_map(|n| word(sql, n)).map(str::to_ascii_uppercase).collect();
        if words == ["CREATE", "TABLE"] && sql.to_ascii_uppercase().contains("PRIMARY KEY") {
            self.keyed.extend(word(sql, 2).map(str::to_owned));
        }
    }

    /// Whether a statement inserts rows whose order does not matter: into a table without a key.
    pub fn unordered(&self, sql: &str) -> bool {
        inserted_rows(sql).is_some() && word(sql, 2).is_some_and(|table| !self.keyed.contains(table))
    }
}

/// One INSERT for each row; other statements as they are.
pub fn one_by_one(sql: &str) -> Vec<String> {
    match inserted_rows(sql) {
        Some((head, rows)) => rows.iter().map(|row| format!("{head} {row}")).collect(),
        None => vec![sql.to_owned()],
    }
}

/// An INSERT with the last row first; other statements as they are.
pub fn reversed(sql: &str) -> String {
    match inserted_rows(sql) {
        Some((head, mut rows)) => {
            rows.reverse();
            format!("{head} {}", rows.join(", "))
        }
        None => sql.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_among_quotes_and_parentheses() {
        let (head, rows) = inserted_rows("insert into t (a, b)\nvalues (1, '),('),\n (f(2), 'it''s')").unwrap();
        assert_eq!(head, "insert into t (a, b)\nvalues");
        assert_eq!(rows, ["(1, '),(')", "(f(2), 'it''s')"]);
        assert_eq!(inserted_rows("INSERT INTO t VALUES (1) ON CONFLICT (a) DO NOTHING"), None);
        assert_eq!(inserted_rows("INSERT INTO t SELECT 1"), None);
        assert_eq!(inserted_rows("UPDATE t SET a = 1"), None);
    }

    #[test]
    fn rows_come_alone_or_the_last_first() {
        assert_eq!(
            one_by_one("INSERT INTO t VALUES (1), (2)"),
            ["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"]
        );
        assert_eq!(reversed("INSERT INTO t VALUES (1), (2)"), "INSERT INTO t VALUES (2), (1)");
        assert_eq!(one_by_one("DELETE FROM t"), ["DELETE FROM t"]);
    }

    #[test]
    fn the_order_matters_where_there_is_a_key() {
        let mut inserts = Inserts::default();
        inserts.note("CREATE TABLE k (a INT PRIMARY KEY)");
        inserts.note("CREATE TABLE t(a INT)");
        assert!(inserts.unordered("INSERT INTO t VALUES (1)"));
        assert!(!inserts.unordered("INSERT INTO k VALUES (1)"));
        assert!(!inserts.unordered("INSERT INTO t SELECT a FROM k"));
    }
}
