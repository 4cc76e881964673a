//! Where SQL text comes from, where its relative paths start, and where one statement of it ends.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use crate::cli::SqlArgs;
use crate::failure::Failure;

/// SQL text that is executed as a whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Input {
    /// The statements.
    pub sql: String,
    /// Where their relative paths start.
    pub base_dir: PathBuf,
}

/// The text of `-c`, `-f` or a redirected standard input; `None` on a terminal.
pub fn of(args: &SqlArgs) -> Result<Option<Input>, Failure> {
    if let Some(path) = &args.file {
        return read_file(path).map(Some);
    }
    let sql = match &args.command {
        Some(sql) => sql.clone(),
        None if std::io::stdin().is_terminal() => return Ok(None),
        None => {
            let mut sql = String::new();
            let read = std::io::stdin().read_to_string(&mut sql);
            read.map_err(|source| Failure::io("cannot read standard input", source))?;
            sql
        }
    };
    Ok(Some(Input { sql, base_dir: current_dir()? }))
}

/// A file of SQL. Its paths start at its own directory, so that a file and its data can be moved and run from anywhere.
pub fn read_file(path: &Path) -> Result<Input, Failure> {
    let sql = std::fs::read_to_string(path).map_err(|source| Failure::unreadable(path, source))?;
    let absolute = std::path::absolute(path).map_err(|source| Failure::unreadable(path, source))?;
    let base_dir = absolute.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    Ok(Input { sql, base_dir })
}

/// Where paths start that were typed rather than read from a file.
pub fn current_dir() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|source| Failure::io("cannot find the current directory", source))
}

/// Whether a text that is being typed ends with a complete statement: with a `;` that is neither quoted, nor in a
/// comment, nor inside of `BEGIN ... END`. A text without any SQL is complete too.
pub fn is_complete(text: &str) -> bool {
    let Some(code) = without_quotes_and_comments(text) else { return false };
    let code = code.trim_end();
    if code.is_empty() {
        return true;
    }
    let words = || code.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let count = |word: &str| words().filter(|w| w.eq_ignore_ascii_case(word)).count();
    // Only statement sets have a BEGIN, and every CASE has an END of its own.
    let open_sets = (count("BEGIN") + count("CASE")).saturating_sub(count("END"));
    code.ends_with(';') && (open_sets == 0 || count("BEGIN") == 0)
}

/// The text with quoted parts replaced by `x` and comments by a blank; `None` if a quote or comment is still open.
fn without_quotes_and_comments(text: &str) -> Option<String> {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let after = &rest[next.len_utf8()..];
        rest = if next == '\'' || next == '"' {
            code.push('x');
            // A doubled quote reads as the end of one quoted part and the start of another: the same for this purpose.
            after.split_once(next)?.1
        } else if rest.starts_with("--") {
            code.push(' ');
            after.find('\n').map_or("", |end| &after[end..])
        } else if rest.starts_with("/*") {
            code.push(' ');
            after_block_comment(rest)?
        } else {
            code.push(next);
            after
        };
    }
    Some(code)
}

/// What follows a block comment, which may contain others.
fn after_block_comment(text: &str) -> Option<&str> {
    let mut depth = 0_usize;
    let mut rest = text;
    loop {
        let open = rest.find("/*");
        let close = rest.find("*/")?;
        match open {
            Some(open) if open < close => {
                depth += 1;
                rest = &rest[open + 2..];
            }
            _ => {
                depth = depth.saturating_sub(1);
                rest = &rest[close + 2..];
                if depth == 0 {
                    return Some(rest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_with_a_semicolon() {
        for text in [
            "SELECT 1;",
            "SELECT 1; -- done",
            "SELECT ';' FROM t ; ",
            "SELECT 'it''s';",
            "/* a /* nested */ comment */ SELECT 1;",
            "SELECT CASE WHEN a THEN 1 ELSE 2 END FROM t;",
            "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT CASE WHEN x THEN 1 END FROM t; END;",
            "",
            "  \n",
            "-- nothing",
        ] {
            assert!(is_complete(text), "{text}");
        }
    }

    #[test]
    fn an_open_quote_comment_or_block_is_not_the_end() {
        for text in [
            "SELECT 1",
            "SELECT ';",
            "SELECT \"a;",
            "SELECT 1 -- ;",
            "SELECT 1 /* ;",
            "/* /* */ SELECT 1;",
            "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1;",
            "execute statement set begin insert into a select case when x then 1 end from t;",
        ] {
            assert!(!is_complete(text), "{text}");
        }
    }

    #[test]
    fn paths_of_a_file_start_at_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.sql");
        std::fs::write(&file, "SELECT 1").unwrap();
        assert_eq!(read_file(&file).unwrap(), Input { sql: "SELECT 1".to_owned(), base_dir: dir.path().to_path_buf() });
        let missing = read_file(&dir.path().join("b.sql")).unwrap_err();
        assert!(missing.report().unwrap().contains("b.sql"), "{missing:?}");
    }
}
