//! The handlers of one connection: simple queries, prepared statements, cancellation.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use engine::session::Engine;
use engine::sql::statement::ParsedStatement;
use futures::{Sink, StreamExt, stream};
use pgwire::api::auth::{
    DefaultServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::PortalStore;
use pgwire::api::{
    ClientInfo, ClientPortalStore, ConnectionManager, PgWireServerHandlers, PidSecretKeyGenerator,
    RandomPidSecretKeyGenerator, Type,
};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use super::error::{of_engine, plain};
use super::session::{Outcome, Session};
use super::types::{fields, pg_type};
use super::{parameters, values};

/// What clients are told about the server they talk to: the PostgreSQL whose protocol and types these are.
pub const SERVER_VERSION: &str = "16.6";

/// A connection.
pub struct Connection {
    handler: Arc<Handler>,
    cancel: Arc<DefaultCancelHandler>,
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(engine: Engine, manager: Arc<ConnectionManager>) -> Self {
        let session = Session::new(engine.clone());
        let handler = Handler { session, parser: Arc::new(Parser { engine }), manager: manager.clone() };
        Self { handler: Arc::new(handler), cancel: Arc::new(DefaultCancelHandler::new(manager)) }
    }
}

impl PgWireServerHandlers for Connection {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        self.handler.clone()
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        self.handler.clone()
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        self.handler.clone()
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        self.cancel.clone()
    }
}

/// What answers messages.
struct Handler {
    session: Session,
    parser: Arc<Parser>,
    manager: Arc<ConnectionManager>,
}

#[async_trait]
impl StartupHandler for Handler {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let PgWireFrontendMessage::Startup(startup) = &message else { return Ok(()) };
        protocol_negotiation(client, startup).await?;
        save_startup_parameters_to_metadata(client, startup);
        let (pid, key) = RandomPidSecretKeyGenerator::default().generate(client);
        client.set_pid_and_secret_key(pid, key);
        // By these a cancel request, which comes over another connection, finds the statement; they end with the connection.
        let (handle, guard) = self.manager.register(pid, client.pid_and_secret_key().1);
        client.session_extensions().insert(handle);
        client.session_extensions().insert(guard);
        let mut parameters = DefaultServerParameterProvider::default();
        parameters.server_version = SERVER_VERSION.to_owned();
        parameters.time_zone = "UTC".to_owned();
        finish_authentication(client, &parameters).await
    }
}

#[async_trait]
impl SimpleQueryHandler for Handler {
    async fn do_query<C>(&self, _client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statements = self.session.engine().parse(query).map_err(|error| of_engine(&error, query))?;
        let mut responses = Vec::new();
        for statement in &statements {
            match self.session.execute(statement, query).await {
                Ok(outcome) => responses.push(response(outcome, &Format::UnifiedText)),
                Err(error) => {
                    // What came before has happened and is reported.
                    if responses.is_empty() {
                        return Err(error);
                    }
                    responses.push(Response::Error(Box::new(error.into())));
                    break;
                }
            }
        }
        if responses.is_empty() {
            responses.push(Response::EmptyQuery);
        }
        Ok(responses)
    }
}

/// A statement that was parsed, with what is known of it.
#[derive(Clone)]
pub struct Prepared {
    sql: Arc<str>,
    /// `None` for a text without a statement.
    statement: Option<Arc<ParsedStatement>>,
    parameters: Vec<Type>,
    columns: Option<SchemaRef>,
}

/// Parses and describes statements.
struct Parser {
    engine: Engine,
}

#[async_trait]
impl QueryParser for Parser {
    type Statement = Prepared;

    async fn parse_sql<C>(&self, _client: &C, sql: &str, types: &[Option<Type>]) -> PgWireResult<Prepared>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let failed = |error: engine::Error| of_engine(&error, sql);
        let mut statements = self.engine.parse(sql).map_err(failed)?;
        if statements.len() > 1 {
            return Err(plain("42601", "cannot insert multiple commands into a prepared statement"));
        }
        let Some(statement) = statements.pop() else {
            return Ok(Prepared { sql: sql.into(), statement: None, parameters: vec![], columns: None });
        };
        let described = self.engine.describe(&statement).await.map_err(failed)?;
        let count = greatest_parameter(sql).max(types.len());
        // What the client says counts, then what follows from the place; else it is text.
        let known = |number: usize| types.get(number - 1).cloned().flatten().filter(|known| *known != Type::UNKNOWN);
        let follows = |number: usize| described.parameters.get(&number).map(pg_type);
        let parameters = (1..=count).map(|number| known(number).or_else(|| follows(number)).unwrap_or(Type::TEXT));
        let parameters = parameters.collect();
        Ok(Prepared { sql: sql.into(), statement: Some(Arc::new(statement)), parameters, columns: described.columns })
    }

    fn get_parameter_types(&self, statement: &Prepared) -> PgWireResult<Vec<Type>> {
        Ok(statement.parameters.clone())
    }

    fn get_result_schema(&self, statement: &Prepared, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        let text = Format::UnifiedText;
        Ok(statement.columns.as_ref().map_or_else(Vec::new, |columns| fields(columns, format.unwrap_or(&text))))
    }
}

#[async_trait]
impl ExtendedQueryHandler for Handler {
    type Statement = Prepared;
    type QueryParser = Parser;

    fn query_parser(&self) -> Arc<Parser> {
        self.parser.clone()
    }

    async fn do_query<C>(&self, _client: &mut C, portal: &Portal<Prepared>, _max_rows: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let prepared = &portal.statement.statement;
        let Some(statement) = &prepared.statement else { return Ok(Response::EmptyQuery) };
        if prepared.parameters.is_empty() {
            let outcome = self.session.execute(statement, &prepared.sql).await?;
            return Ok(response(outcome, &portal.result_column_format));
        }
        let bound = bind(portal, prepared)?;
        let failed = |error: engine::Error| of_engine(&error, &prepared.sql);
        let mut statements = self.session.engine().parse_bound(&prepared.sql, &bound).map_err(failed)?;
        let Some(statement) = statements.pop() else { return Ok(Response::EmptyQuery) };
        let outcome = self.session.execute(&statement, &prepared.sql).await?;
        Ok(response(outcome, &portal.result_column_format))
    }
}

/// The values of a portal's parameters, as SQL.
fn bind(portal: &Portal<Prepared>, prepared: &Prepared) -> PgWireResult<Vec<String>> {
    let (given, wanted) = (portal.parameters.len(), prepared.parameters.len());
    if given != wanted {
        let message = format!("bind message supplies {given} parameters, but the prepared statement requires {wanted}");
        return Err(plain("08P01", message));
    }
    if let Format::Individual(codes) = &portal.parameter_format
        && codes.len() != given
    {
        let message = format!("bind message has {} parameter formats but {given} parameters", codes.len());
        return Err(plain("08P01", message));
    }
    let values = portal.parameters.iter().zip(&prepared.parameters).enumerate();
    let value = |(place, (bytes, data_type)): (usize, (&Option<bytes::Bytes>, &Type))| {
        parameters::sql(place + 1, data_type, portal.parameter_format.format_for(place), bytes.as_deref())
    };
    values.map(value).collect()
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

/// An outcome as messages.
fn response(outcome: Outcome, format: &Format) -> Response {
    match outcome {
        Outcome::Rows(batches) => {
            let columns = Arc::new(fields(&batches.schema(), format));
            let encoding = columns.clone();
            let rows = batches.flat_map(move |batch| {
                let rows = batch.map_err(engine::Error::from).and_then(|batch| Ok(values::rows(&batch, &encoding)?));
                match rows {
                    Ok(rows) => stream::iter(rows.into_iter().map(Ok).collect::<Vec<_>>()),
                    Err(error) => stream::iter(vec![Err(of_engine(&error, ""))]),
                }
            });
            Response::Query(QueryResponse::new(columns, rows))
        }
        Outcome::Done(tag) => Response::Execution(Tag::new(&tag)),
        Outcome::Begun => Response::TransactionStart(Tag::new("BEGIN")),
        Outcome::Ended(tag) => Response::TransactionEnd(Tag::new(tag)),
        Outcome::Setting(name, value) => {
            let columns =
                Arc::new(vec![FieldInfo::new(name, None, None, Type::TEXT, pgwire::api::results::FieldFormat::Text)]);
            let mut data = bytes::BytesMut::new();
            bytes::BufMut::put_i32(&mut data, value.len() as i32);
            data.extend_from_slice(value.as_bytes());
            let row = pgwire::messages::data::DataRow::new(data, 1);
            let mut response = QueryResponse::new(columns, stream::iter([Ok(row)]));
            response.set_command_tag("SHOW");
            Response::Query(response)
        }
    }
}
