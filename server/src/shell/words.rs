//! Words of the language that the shell knows without asking the engine: to complete and to colour them.

/// What a statement can begin with.
#[rustfmt::skip]
pub const STARTS: &[&str] = &[
    "ALTER", "CREATE", "DELETE FROM", "DESCRIBE", "DROP", "EXECUTE STATEMENT SET BEGIN", "EXPLAIN", "FLUSH", "GRANT",
    "INSERT INTO", "MERGE INTO", "PAUSE JOB", "REASSIGN OWNED BY", "RESET", "RESTART JOB", "RESUME JOB", "REVOKE",
    "SELECT", "SET", "SHOW", "STOP JOB", "SUBSCRIBE TO", "TRUNCATE TABLE", "UPDATE", "VALUES",
    "VERIFY MATERIALIZED VIEW", "WITH",
];

/// Words that mean something within a statement, in alphabetical order.
#[rustfmt::skip]
pub const KEYWORDS: &[&str] = &[
    "ALL", "ALTER", "AND", "ANY", "APPEND", "ARRAY", "AS", "ASC", "ASOF", "BEGIN", "BETWEEN", "BIGINT", "BOOLEAN",
    "BY", "BYTEA", "CASCADE", "CASE", "CAST", "CONFLICT", "CREATE", "CROSS", "CUMULATE", "CURRENT", "DATE", "DECIMAL",
    "DEFAULT", "DELETE", "DESC", "DESCRIBE", "DESCRIPTOR", "DISTINCT", "DO", "DOUBLE", "DROP", "ELSE", "EMIT", "END",
    "EXCEPT", "EXECUTE", "EXISTS", "EXPLAIN", "EXTRACT", "FALSE", "FILTER", "FIRST", "FLOAT", "FLUSH", "FOLLOWING",
    "FOR", "FROM", "FULL", "FUNCTION", "GRANT", "GRANTS", "GROUP", "GROUPING", "HAVING", "HOP", "IF", "ILIKE", "IN",
    "INCREMENTAL", "INNER", "INSERT", "INT", "INTERSECT", "INTERVAL", "INTO", "IS", "JOB", "JOBS", "JOIN", "KEY",
    "LAST", "LATERAL", "LEFT", "LIKE", "LIMIT", "MAP", "MATCHED", "MATERIALIZED", "MERGE", "NOT", "NOTHING", "NULL",
    "NULLS", "OF", "OFFSET", "ON", "ONLY", "OR", "ORDER", "OUTER", "OVER", "OVERWRITE", "OWNED", "OWNER", "PARTITION",
    "PASSWORD", "PAUSE", "PRECEDING", "PRIMARY", "PUBLIC", "RANGE", "REASSIGN", "REPLACE", "RESET", "RESTART",
    "RESUME", "RETURNS", "REVOKE", "RIGHT", "ROLLUP", "ROW", "ROWS", "SCHEMA", "SELECT", "SESSION", "SET", "SETS",
    "SHOW", "SMALLINT", "SNAPSHOT", "STATEMENT", "STOP", "SUBSCRIBE", "SUPERUSER", "SYSTEM_TIME", "TABLE", "TABLES",
    "THEN", "TIME", "TIMESTAMP", "TO", "TRUE", "TRUNCATE", "TUMBLE", "UNBOUNDED", "UNION", "UPDATE", "USER", "USERS",
    "USING", "VALUES", "VARCHAR", "VERIFY", "VERSION", "VIEW", "VIEWS", "WATERMARK", "WHEN", "WHERE", "WINDOW",
    "WITH", "WITHIN",
];

/// The functions of the language that are written most; the others can be written, but are not offered.
#[rustfmt::skip]
pub const FUNCTIONS: &[&str] = &[
    "abs", "array_agg", "array_length", "avg", "bool_and", "bool_or", "ceil", "char_length", "coalesce", "concat",
    "concat_ws", "corr", "count", "date_bin", "date_part", "date_trunc", "dense_rank", "ends_with", "exp", "extract",
    "first_value", "floor", "from_unixtime", "generate_series", "greatest", "if", "ifnull", "json_value", "lag",
    "last_value", "lead", "least", "left", "length", "ln", "log", "lower", "lpad", "ltrim", "max", "md5", "median",
    "min", "mod", "now", "nth_value", "ntile", "nullif", "overlay", "percent_rank", "position", "power", "random",
    "rank", "regexp_like", "regexp_match", "regexp_replace", "repeat", "replace", "reverse", "right", "round",
    "row_number", "rpad", "rtrim", "sign", "split_part", "sqrt", "starts_with", "stddev", "string_agg", "strpos",
    "substring", "sum", "to_char", "to_timestamp", "translate", "trim", "trunc", "unnest", "upper", "var_pop",
    "var_samp",
];

/// Whether a word is one of the language rather than a name.
pub fn is_keyword(word: &str) -> bool {
    let upper = word.to_ascii_uppercase();
    KEYWORDS.binary_search(&upper.as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted() {
        assert!(KEYWORDS.is_sorted() && STARTS.is_sorted() && FUNCTIONS.is_sorted());
        assert!(is_keyword("select") && is_keyword("WITH") && !is_keyword("flights"));
    }

    /// A completion that the engine does not know would be a trap.
    #[tokio::test]
    async fn every_function_exists() {
        let dir = tempfile::tempdir().unwrap();
        let options = engine::session::EngineOptions {
            warehouse: dir.path().join("warehouse").to_string_lossy().into_owned(),
            parallelism: 1,
            commit_interval: std::time::Duration::from_secs(1),
            base_dir: dir.path().to_path_buf(),
            clock: std::sync::Arc::new(catalog::SystemClock::new()),
            limits: engine::session::Limits::default(),
            cluster: None,
        };
        let engine = engine::session::Engine::open(options).await.unwrap();
        let mut unknown = Vec::new();
        for function in FUNCTIONS {
            // Some are known by their number of arguments, some only as windows, and some have a syntax of their own.
            let calls = ["()", "() OVER ()", "(1, 2)", "(true, 2, 3)", "(1)", "(year FROM now())"];
            let mut errors = Vec::new();
            for call in calls {
                let Ok(statements) = engine.parse(&format!("EXPLAIN SELECT {function}{call}")) else { continue };
                errors.push(engine.execute(&statements[0]).await.err().map(|error| error.to_string()));
            }
            let invalid = |error: &Option<String>| error.as_ref().is_some_and(|e| e.contains("Invalid function '"));
            if errors.iter().all(invalid) {
                unknown.push(errors);
            }
        }
        assert!(unknown.is_empty(), "{unknown:#?}");
    }
}
