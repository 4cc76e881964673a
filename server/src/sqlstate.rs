//! SQLSTATE: the codes by which programs tell errors apart (PostgreSQL 16, appendix A).

use engine::error::{Error, ErrorKind};

/// Something that this server does not do.
pub const NOT_SUPPORTED: &str = "0A000";
/// A value that is not of its type.
pub const INVALID_TEXT: &str = "22P02";

/// A table or view that is not there.
pub const NO_TABLE: &str = "42P01";

/// The code of an error of the engine.
pub fn sqlstate(error: &Error) -> &'static str {
    let message = error.message();
    let says = |part: &str| message.contains(part);
    match error.kind() {
        ErrorKind::Sql if says("there is no table") || says("there is no view") => NO_TABLE,
        ErrorKind::Sql if says("there is no user") => "42704",
        ErrorKind::Sql if says("the user") && says("already exists") => "42710",
        ErrorKind::Sql if says("already exists") => "42P07",
        ErrorKind::Sql if says("cannot be dropped") => "2BP01",
        ErrorKind::Sql if says("No field named") || says("no column") => "42703",
        ErrorKind::Sql if says("nvalid function") || says("there is no function") => "42883",
        ErrorKind::Sql if says("not supported") || says("This feature is not implemented") => NOT_SUPPORTED,
        ErrorKind::Sql => "42601",
        ErrorKind::Option => "22023",
        ErrorKind::Data if says("ivide by zero") || says("ivision by zero") => "22012",
        ErrorKind::Data if says("overflow") || says("out of range") => "22003",
        ErrorKind::Data if says("Cannot cast string") || says("Parser error") => INVALID_TEXT,
        ErrorKind::Data if says("NULL") => "23502",
        ErrorKind::Data if says("would have the key") => "23505",
        ErrorKind::Data => "22000",
        ErrorKind::Conflict => "40001",
        ErrorKind::Fenced => "55006",
        ErrorKind::Denied => "42501",
        ErrorKind::Unavailable if says("statement_timeout") => "57014",
        ErrorKind::Unavailable if says("more memory than it may take") => "53200",
        ErrorKind::Unavailable => "58000",
        ErrorKind::Corrupt => "XX001",
        ErrorKind::Internal => "XX000",
    }
}
