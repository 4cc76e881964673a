//! Prepared statements and portals: texts that are parsed and described once, then run with values.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use engine::session::Engine;
use engine::sql::statement::{ParsedStatement, Show, Statement};
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::error::{PgWireError, PgWireResult};

use super::error::{of_engine, plain};
use super::parameters;
use super::session::Session;
use super::system::{self, System};
use super::types::{array_type, pg_type, setting_columns};

/// A statement that was parsed, with what is known of it.
#[derive(Debug)]
pub struct Prepared {
    /// Its text.
    pub sql: String,
    /// What it is.
    pub what: What,
    /// Types of its parameters.
    pub parameters: Vec<Type>,
    /// Columns of its result, if rows come.
    pub columns: Option<SchemaRef>,
}

/// What a text is.
#[derive(Debug, Clone)]
pub enum What {
    /// Nothing but white space and comments.
    Nothing,
    /// A query of system tables: its text with values.
    System(String),
    /// A statement of the engine.
    Statement(Arc<ParsedStatement>),
}

/// A prepared statement with values for its parameters.
#[derive(Debug)]
pub struct Portal {
    /// The statement.
    pub prepared: Arc<Prepared>,
    /// What it is with the values.
    pub what: What,
    /// How the columns of its result are sent.
    pub format: Format,
}

/// Parses and describes a text. `types`: of the parameters, as far as the client says.
pub async fn prepare(session: &Session, system: &System, sql: String, types: &[u32]) -> PgWireResult<Prepared> {
    let engine = session.engine();
    let failed = |error: engine::Error| of_engine(&error, &sql);
    let count = greatest_parameter(&sql).max(types.len());
    let known = |number: usize| types.get(number - 1).and_then(|oid| Type::from_oid(*oid));
    let known = |number: usize| known(number).filter(|known| *known != Type::UNKNOWN);
    let stated = if count > 0 { parameters::stated(&sql) } else { BTreeMap::new() };
    let known = |number: usize| known(number).or_else(|| stated.get(&number).cloned());
    if system::is_system(&sql) {
        let parameters = (1..=count).map(|number| known(number).unwrap_or(Type::TEXT)).collect();
        let nulls = (1..=count).map(|number| parameters::null(known(number).as_ref())).collect::<Vec<_>>();
        let columns = Some(system.describe(&sql, &nulls, session.user()).await.map_err(failed)?);
        return Ok(Prepared { what: What::System(sql.clone()), sql, parameters, columns });
    }
    let mut statements = engine.parse(&sql).map_err(failed)?;
    if statements.len() > 1 {
        return Err(plain("42601", "cannot insert multiple commands into a prepared statement"));
    }
    let Some(statement) = statements.pop() else {
        return Ok(Prepared { sql, what: What::Nothing, parameters: vec![], columns: None });
    };
    let described = describe(session, &statement).await.map_err(failed)?;
    let arrays = if count > stated.len() { arrays(session, &sql).await } else { BTreeMap::new() };
    // What the client says counts, then how it is used, then what follows from the place; else it is text.
    let follows = |number: usize| described.parameters.get(&number).map(pg_type);
    let follows = |number: usize| arrays.get(&number).cloned().or_else(|| follows(number));
    let parameters = (1..=count).map(|number| known(number).or_else(|| follows(number)).unwrap_or(Type::TEXT));
    let parameters = parameters.collect();
    Ok(Prepared { sql, what: What::Statement(Arc::new(statement)), parameters, columns: described.columns })
}

async fn describe(session: &Session, statement: &ParsedStatement) -> engine::Result<engine::session::Description> {
    match &statement.statement {
        Statement::Cursor(control) => {
            let columns = session.columns_of(control).await;
            Ok(engine::session::Description { columns, ..Default::default() })
        }
        Statement::Show(Show::Setting(name)) if session.setting(name).is_some() => {
            Ok(engine::session::Description { columns: Some(setting_columns(name)), ..Default::default() })
        }
        _ => session.engine().describe(statement).await,
    }
}

/// The types of the parameters `$1` in `x = ANY($1)`, as far as they can be found: DataFusion finds those of `x = $1`.
async fn arrays(session: &Session, sql: &str) -> BTreeMap<usize, Type> {
    let Some((text, numbers)) = parameters::elements_of_any(sql) else { return BTreeMap::new() };
    let Some(statement) = session.engine().parse(&text).ok().and_then(|mut statements| statements.pop()) else {
        return BTreeMap::new();
    };
    let Ok(described) = describe(session, &statement).await else { return BTreeMap::new() };
    let elements = described.parameters.into_iter().filter(|(number, _)| numbers.contains(number));
    elements.map(|(number, element)| (number, array_type(&pg_type(&element)))).collect()
}

/// Binds values to the parameters of a statement.
pub fn bind(
    engine: &Engine,
    prepared: Arc<Prepared>,
    formats: &[i16],
    values: &[Option<Bytes>],
    results: &[i16],
) -> PgWireResult<Portal> {
    let (given, wanted) = (values.len(), prepared.parameters.len());
    if given != wanted {
        let message = format!("bind message supplies {given} parameters, but the prepared statement requires {wanted}");
        return Err(plain("08P01", message));
    }
    if formats.len() > 1 && formats.len() != given {
        let message = format!("bind message has {} parameter formats but {given} parameters", formats.len());
        return Err(plain("08P01", message));
    }
    let columns = prepared.columns.as_ref().map_or(0, |columns| columns.fields().len());
    if results.len() > 1 && results.len() != columns {
        let message = format!("bind message has {} result formats but query has {columns} columns", results.len());
        return Err(plain("08P01", message));
    }
    let (formats, format) = (format(formats), format(results));
    let value = |(place, (bytes, data_type)): (usize, (&Option<Bytes>, &Type))| {
        parameters::sql(place + 1, data_type, formats.format_for(place), bytes.as_deref())
    };
    let bound = values.iter().zip(&prepared.parameters).enumerate().map(value).collect::<PgWireResult<Vec<_>>>()?;
    let what = match &prepared.what {
        What::Statement(_) if !bound.is_empty() => {
            let failed = |error: engine::Error| of_engine(&error, &prepared.sql);
            let statement = engine.parse_bound(&prepared.sql, &bound).map_err(failed)?.pop();
            statement.map_or(What::Nothing, |statement| What::Statement(Arc::new(statement)))
        }
        What::System(sql) => What::System(system::bound(sql, &bound)),
        other => other.clone(),
    };
    Ok(Portal { prepared, what, format })
}

/// The format codes of a message: none, one for all, or one for each.
fn format(codes: &[i16]) -> Format {
    match codes {
        [] => Format::UnifiedText,
        [code] => Format::from(*code),
        codes => Format::Individual(codes.to_vec()),
    }
}

/// The greatest `n` of the parameters `$n` in a text.
fn greatest_parameter(sql: &str) -> usize {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize().unwrap_or_default();
    let number = |token: Token| match token {
        Token::Placeholder(name) => name.strip_prefix('$')?.parse::<u16>().ok(),
        _ => None,
    };
    tokens.into_iter().filter_map(number).max().map_or(0, usize::from)
}

/// The error for a name that nothing was prepared under.
pub fn unknown(what: &str, code: &str, name: &str) -> PgWireError {
    plain(code, format!("{what} \"{name}\" does not exist"))
}
