//! The handlers of one connection: simple queries, prepared statements, cancellation.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use engine::session::Engine;
use engine::sql::statement::{ParsedStatement, Statement, TransactionControl};
use futures::{FutureExt, Sink, StreamExt, stream};
use pgwire::api::auth::{
    DefaultServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use pgwire::api::cancel::CancelHandler;
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::PortalStore;
use pgwire::api::{
    ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireServerHandlers, PidSecretKeyGenerator,
    RandomPidSecretKeyGenerator, Type,
};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::extendedquery::Execute;
use pgwire::messages::response::TransactionStatus;
use pgwire::messages::simplequery::Query;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use super::cancel::{Cancellations, Cancelled, Registration};
use super::error::{of_engine, plain};
use super::session::{Outcome, Session};
use super::system::{self, System};
use super::types::{fields, pg_type};
use super::{parameters, values};

/// What clients are told about the server they talk to: the PostgreSQL whose protocol and types these are.
pub const SERVER_VERSION: &str = "16.6";

/// A connection.
pub struct Connection {
    handler: Arc<Handler>,
    cancellations: Arc<Cancellations>,
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(engine: &Engine, system: Arc<System>, cancellations: Arc<Cancellations>) -> Self {
        let engine = engine.session();
        let session = Session::new(engine.clone());
        let parser = Arc::new(Parser { engine, system });
        let handler = Handler { session, parser, cancellations: cancellations.clone(), registration: OnceLock::new() };
        Self { handler: Arc::new(handler), cancellations }
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
        self.cancellations.clone()
    }
}

/// What answers messages.
struct Handler {
    session: Session,
    parser: Arc<Parser>,
    cancellations: Arc<Cancellations>,
    /// By this a cancel request finds the connection.
    registration: OnceLock<Registration>,
}

impl Handler {
    /// Runs a query of system tables. `asked`: what the client wrote.
    async fn system(&self, sql: &str, asked: &str, format: &Format) -> PgWireResult<Response> {
        let Some(registration) = self.registration.get() else { return Err(PgWireError::NotReadyForQuery) };
        let rows = self.parser.system.run(sql).await.map_err(|error| of_engine(&error, asked))?;
        Ok(response(Outcome::Rows(rows), format, registration.listen()))
    }

    /// A transaction that has failed is about to go back to a savepoint: clients are not told any more that it has failed,
    /// unless it fails again. `pgwire` knows no savepoints.
    async fn revive(&self, client: &mut impl ClientInfo) {
        if self.session.in_transaction().await {
            client.set_transaction_status(TransactionStatus::Transaction);
        }
    }

    /// Executes a statement unless it is cancelled; its rows, too, end when it is.
    async fn execute(&self, statement: &ParsedStatement, sql: &str, format: &Format) -> PgWireResult<Response> {
        let Some(registration) = self.registration.get() else { return Err(PgWireError::NotReadyForQuery) };
        let outcome = tokio::select! {
            outcome = self.session.execute(statement, sql) => outcome?,
            () = registration.listen().wait() => {
                self.session.fail().await;
                return Err(PgWireError::QueryCanceled);
            }
        };
        Ok(response(outcome, format, registration.listen()))
    }
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
        let _ = self.registration.set(self.cancellations.register(pid, &client.pid_and_secret_key().1));
        let mut parameters = DefaultServerParameterProvider::default();
        parameters.server_version = SERVER_VERSION.to_owned();
        parameters.time_zone = "UTC".to_owned();
        finish_authentication(client, &parameters).await
    }
}

#[async_trait]
impl SimpleQueryHandler for Handler {
    async fn on_query<C>(&self, client: &mut C, query: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if self.session.engine().parse(&query.query).is_ok_and(|statements| statements.iter().any(goes_back)) {
            self.revive(client).await;
        }
        self._on_query(client, query).await
    }

    async fn do_query<C>(&self, _client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if system::is_system(query) {
            return Ok(vec![self.system(query, query, &Format::UnifiedText).await?]);
        }
        let statements = self.session.engine().parse(query).map_err(|error| of_engine(&error, query))?;
        let mut responses = Vec::new();
        for statement in &statements {
            match self.execute(statement, query, &Format::UnifiedText).await {
                Ok(response) => responses.push(response),
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
    what: What,
    parameters: Vec<Type>,
    columns: Option<SchemaRef>,
}

/// What a prepared text is.
#[derive(Clone)]
enum What {
    /// Nothing but white space and comments.
    Nothing,
    /// A query of system tables.
    System,
    /// A statement of the engine.
    Statement(Arc<ParsedStatement>),
}

/// Parses and describes statements.
struct Parser {
    engine: Engine,
    system: Arc<System>,
}

#[async_trait]
impl QueryParser for Parser {
    type Statement = Prepared;

    async fn parse_sql<C>(&self, _client: &C, sql: &str, types: &[Option<Type>]) -> PgWireResult<Prepared>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let failed = |error: engine::Error| of_engine(&error, sql);
        let count = greatest_parameter(sql).max(types.len());
        let known = |number: usize| types.get(number - 1).cloned().flatten().filter(|known| *known != Type::UNKNOWN);
        if system::is_system(sql) {
            let parameters = (1..=count).map(|number| known(number).unwrap_or(Type::TEXT)).collect();
            let columns = Some(self.system.describe(sql, count).await.map_err(failed)?);
            return Ok(Prepared { sql: sql.into(), what: What::System, parameters, columns });
        }
        let mut statements = self.engine.parse(sql).map_err(failed)?;
        if statements.len() > 1 {
            return Err(plain("42601", "cannot insert multiple commands into a prepared statement"));
        }
        let Some(statement) = statements.pop() else {
            return Ok(Prepared { sql: sql.into(), what: What::Nothing, parameters: vec![], columns: None });
        };
        let described = self.engine.describe(&statement).await.map_err(failed)?;
        // What the client says counts, then what follows from the place; else it is text.
        let follows = |number: usize| described.parameters.get(&number).map(pg_type);
        let parameters = (1..=count).map(|number| known(number).or_else(|| follows(number)).unwrap_or(Type::TEXT));
        let parameters = parameters.collect();
        let what = What::Statement(Arc::new(statement));
        Ok(Prepared { sql: sql.into(), what, parameters, columns: described.columns })
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

    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let portal = client.portal_store().get_portal(message.name.as_deref().unwrap_or(DEFAULT_NAME));
        let what = portal.map(|portal| portal.statement.statement.what.clone());
        if let Some(What::Statement(statement)) = what
            && goes_back(&statement)
        {
            self.revive(client).await;
        }
        self._on_execute(client, message).await
    }

    async fn do_query<C>(&self, _client: &mut C, portal: &Portal<Prepared>, _max_rows: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let prepared = &portal.statement.statement;
        let bound = bind(portal, prepared)?;
        let statement = match &prepared.what {
            What::Nothing => return Ok(Response::EmptyQuery),
            What::System => {
                let sql = system::bound(&prepared.sql, &bound);
                return self.system(&sql, &prepared.sql, &portal.result_column_format).await;
            }
            What::Statement(statement) => statement,
        };
        if bound.is_empty() {
            return self.execute(statement, &prepared.sql, &portal.result_column_format).await;
        }
        let failed = |error: engine::Error| of_engine(&error, &prepared.sql);
        let mut statements = self.session.engine().parse_bound(&prepared.sql, &bound).map_err(failed)?;
        let Some(statement) = statements.pop() else { return Ok(Response::EmptyQuery) };
        self.execute(&statement, &prepared.sql, &portal.result_column_format).await
    }
}

/// Whether a statement is ROLLBACK TO a savepoint.
fn goes_back(parsed: &ParsedStatement) -> bool {
    matches!(parsed.statement, Statement::Transaction(TransactionControl::RollbackTo(_)))
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
fn response(outcome: Outcome, format: &Format, cancelled: Cancelled) -> Response {
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
            let cancelled = cancelled.wait().map(|()| Err(PgWireError::QueryCanceled)).into_stream();
            // Either ends the answer: the last row, or an error in place of it.
            let rows = stream::select(rows.map(Some).chain(stream::iter([None])), cancelled.map(Some));
            Response::Query(QueryResponse::new(
                columns,
                rows.take_while(|row| std::future::ready(row.is_some())).filter_map(std::future::ready),
            ))
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
