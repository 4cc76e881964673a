//! Errors of a server as errors of our own, so that they print as if the engine were here.

use engine::error::{Error, ErrorKind, Position};
use reqwest::StatusCode;
use serde_json::Value;

/// The beginning of a text.
pub const START: Position = Position { line: 1, column: 1 };

/// What the body of an answer that is an error says. `start`: where the text that was sent stands in the user's.
pub fn of_server(url: &str, status: StatusCode, body: &Value, start: Position) -> Error {
    if status == StatusCode::UNAUTHORIZED {
        return Error::new(ErrorKind::Denied, "the server does not know this user, or not with this password")
            .hint("set FRAZIL_USER and FRAZIL_PASSWORD, or write the URL as http://user:password@host:port");
    }
    match body["error"].is_object() {
        true => of_body(kind(status), &body["error"], start),
        false => no_server(url, &format!("it answered {status}")),
    }
}

/// The same for the error within a stream.
pub fn of_stream(body: &Value) -> Error {
    of_body(ErrorKind::Data, &body["error"], START)
}

/// Something answers, but not a server of ours.
pub fn no_server(url: &str, why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("what answers at {url} is no frazil server: {why}"))
        .hint("name the address of `frazil server --http`")
}

/// The server cannot be reached, or went away.
pub fn broken(url: &str, source: reqwest::Error) -> Error {
    let message = match source.is_connect() {
        true => format!("no server can be reached at {url}"),
        false => format!("the connection to {url} broke off"),
    };
    Error::new(ErrorKind::Unavailable, message).because(source.without_url()).hint("is `frazil server` running there?")
}

fn kind(status: StatusCode) -> ErrorKind {
    match status {
        StatusCode::CONFLICT => ErrorKind::Conflict,
        StatusCode::FORBIDDEN => ErrorKind::Denied,
        StatusCode::SERVICE_UNAVAILABLE => ErrorKind::Unavailable,
        status if status.is_server_error() => ErrorKind::Internal,
        _ => ErrorKind::Sql,
    }
}

/// The parts come in the order in which an error of the engine prints them.
fn of_body(kind: ErrorKind, error: &Value, start: Position) -> Error {
    let text = |name: &str| error[name].as_str();
    let mut message = text("message").unwrap_or("the server does not say what went wrong").to_owned();
    let cause = text("cause");
    if let Some(shorter) = cause.and_then(|cause| message.strip_suffix(cause)?.strip_suffix(": ")) {
        message.truncate(shorter.len());
    }
    if let Some(detail) = text("detail") {
        message.push_str(&format!(" ({detail})"));
    }
    let number = |name: &str| error["position"][name].as_u64();
    let position = number("line").zip(number("column")).map(|(line, column)| shifted(Position { line, column }, start));
    let mut error = Error::new(kind, message).at(position);
    if let Some(cause) = cause {
        error = error.because(cause);
    }
    match text("hint") {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// A place in a part of a text that begins at `start`, as a place in the whole.
fn shifted(place: Position, start: Position) -> Position {
    let line = start.line.saturating_sub(1) + place.line;
    match place.line {
        1 => Position { line, column: start.column.saturating_sub(1) + place.column },
        _ => Position { line, column: place.column },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_prints_as_it_would_here() {
        let here = Error::sql("no such thing")
            .with("table", "t")
            .with("column", "c")
            .at(Some(Position { line: 3, column: 9 }))
            .because("it is gone")
            .hint("look elsewhere");
        let body = json!({"error": {
            "code": "42601", "message": here.message(), "cause": "it is gone", "hint": here.advice(),
            "detail": "table: t, column: c", "position": {"line": 1, "column": 5},
        }});
        let start = Position { line: 3, column: 5 };
        let there = of_server("http://x", StatusCode::BAD_REQUEST, &body, start);
        assert_eq!(there.to_string(), here.to_string());
        assert_eq!(there.position(), here.position());
    }

    #[test]
    fn lines_after_the_first_keep_their_columns() {
        let start = Position { line: 10, column: 20 };
        assert_eq!(shifted(Position { line: 1, column: 1 }, start), start);
        assert_eq!(shifted(Position { line: 3, column: 4 }, start), Position { line: 12, column: 4 });
    }
}
