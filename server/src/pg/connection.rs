//! One connection from its first message to its last: simple queries, prepared statements, COPY.
//!
//! After an error in the extended protocol everything up to the next Sync is left out, as the protocol asks
//! (PostgreSQL 16, "Message Flow").

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use engine::session::Engine;
use engine::sql::statement::{ParsedStatement, Statement};
use futures::{SinkExt, StreamExt};
use pgwire::api::portal::Format;
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete, TARGET_TYPE_BYTE_PORTAL,
};
use pgwire::messages::response::{EmptyQueryResponse, ReadyForQuery};
use pgwire::messages::{PgWireBackendMessage as Message, PgWireFrontendMessage as Request};
use pgwire::tokio::TlsAcceptor;
use pgwire::tokio::server::negotiate_tls;
use tokio::net::TcpStream;

use super::cancel::{Cancellations, Registration};
use super::codec::{Client, Newcomer, admit};
use super::copy::{CopyIn, copy_out};
use super::error::{fatal, notice, of_engine, plain};
use super::prepared::{Portal, Prepared, What, bind, prepare, unknown};
use super::reply::{Rows, Sent, description, done};
use super::session::{Outcome, Session};
use super::startup::introduce;
use super::system::{self, System};
use super::types::{fields, setting};
use crate::auth::Door;

/// How long a client may take to introduce itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all connections share.
#[derive(Clone)]
pub struct Shared {
    /// The warehouse.
    pub engine: Engine,
    /// System tables.
    pub system: Arc<System>,
    /// Who can be cancelled.
    pub cancellations: Arc<Cancellations>,
    /// Tells users from others.
    pub door: Arc<Door>,
    /// Encrypts, if there is a certificate.
    pub tls: Option<TlsAcceptor>,
}

/// Talks to a client until one of both ends it.
///
/// # Errors
/// If the connection breaks.
pub async fn talk(socket: TcpStream, shared: Shared) -> std::io::Result<()> {
    let start = async {
        let Some(mut client) = negotiate_tls::<()>(socket, shared.tls.clone()).await? else { return Ok(None) };
        match introduce(&mut client, &shared.cancellations, &shared.engine, &shared.door).await {
            Ok(Some(admitted)) => Ok(Some((client, admitted))),
            Ok(None) => Ok(None),
            Err(error) => refuse(client, error).await.map(|()| None),
        }
    };
    let Ok(started) = tokio::time::timeout(PATIENCE, start).await else { return Ok(()) };
    let Some((client, admitted)) = started? else { return Ok(()) };
    let (pid, key) = pgwire::api::ClientInfo::pid_and_secret_key(&client);
    let connection = Connection {
        client: admit(client),
        session: Arc::new(Session::new(&shared.engine, admitted.user)),
        system: shared.system,
        registration: shared.cancellations.register(pid, &key),
        statements: HashMap::new(),
        portals: HashMap::new(),
        copying: None,
        skipping: false,
    };
    connection.run().await
}

async fn refuse(mut client: Newcomer, error: PgWireError) -> std::io::Result<()> {
    client.send(Message::ErrorResponse(ErrorInfo::from(error).into())).await
}

/// See the module.
struct Connection {
    client: Client,
    session: Arc<Session>,
    system: Arc<System>,
    /// By this a cancel request finds the connection.
    registration: Registration,
    statements: HashMap<String, Arc<Prepared>>,
    portals: HashMap<String, Open>,
    copying: Option<Copying>,
    /// Until Sync.
    skipping: bool,
}

/// A portal, and what is left of its result once it runs.
struct Open {
    portal: Arc<Portal>,
    rows: Option<Rows>,
    /// It has run to its end.
    over: bool,
}

/// COPY that goes on.
struct Copying {
    copy: CopyIn,
    /// It was begun by Execute: the client sends Sync.
    extended: bool,
}

/// What comes after a statement.
enum Next {
    /// The next one.
    Statement,
    /// Rows of the client.
    Rows(CopyIn),
}

impl Connection {
    async fn run(mut self) -> std::io::Result<()> {
        while let Some(request) = self.client.next().await {
            let request = match request {
                Ok(Request::Terminate(_)) => break,
                Ok(request) => request,
                // What follows cannot be told apart any more.
                Err(PgWireError::IoError(error)) => return Err(error),
                Err(error) => {
                    let info = ErrorInfo::from(error);
                    let info = if info.is_fatal() { info } else { ErrorInfo::from(fatal("08P01", info.message)) };
                    return self.client.send(Message::ErrorResponse(info.into())).await;
                }
            };
            let extended = match &self.copying {
                Some(copying) => copying.extended,
                None => request.is_extended_query(),
            };
            if let Err(error) = self.on(request).await {
                self.failed(error, extended).await?;
            }
        }
        Ok(())
    }

    async fn failed(&mut self, error: PgWireError, extended: bool) -> std::io::Result<()> {
        if let PgWireError::IoError(error) = error {
            return Err(error);
        }
        if let Some(copying) = self.copying.take() {
            copying.copy.abort().await;
        }
        self.session.fail().await;
        let info = ErrorInfo::from(error);
        let (is_fatal, message) = (info.is_fatal(), info.message.clone());
        self.client.feed(Message::ErrorResponse(info.into())).await?;
        if is_fatal {
            self.client.flush().await?;
            return Err(std::io::Error::other(message));
        }
        match extended {
            true => {
                self.skipping = true;
                self.client.flush().await
            }
            false => self.ready().await.map_err(|error| std::io::Error::other(error.to_string())),
        }
    }

    async fn ready(&mut self) -> PgWireResult<()> {
        let status = self.session.status().await;
        Ok(self.client.send(Message::ReadyForQuery(ReadyForQuery::new(status))).await?)
    }

    async fn on(&mut self, request: Request) -> PgWireResult<()> {
        if self.copying.is_some() {
            return self.on_copy(request).await;
        }
        if self.skipping && !matches!(request, Request::Sync(_)) {
            return Ok(());
        }
        match request {
            Request::Query(query) => self.on_query(&query.query).await,
            Request::Parse(parse) => self.on_parse(parse).await,
            Request::Bind(bind) => self.on_bind(bind).await,
            Request::Describe(describe) => self.on_describe(describe).await,
            Request::Execute(execute) => self.on_execute(execute).await,
            Request::Close(close) => self.on_close(close).await,
            Request::Flush(_) => Ok(self.client.flush().await?),
            Request::Sync(_) => {
                self.skipping = false;
                self.portals.remove("");
                self.ready().await
            }
            // The rest of a COPY that has failed.
            Request::CopyData(_) | Request::CopyDone(_) | Request::CopyFail(_) => Ok(()),
            _ => Err(fatal("08P01", "this message is not expected here")),
        }
    }

    async fn on_copy(&mut self, request: Request) -> PgWireResult<()> {
        let Some(Copying { copy, extended }) = &mut self.copying else { return Ok(()) };
        let extended = *extended;
        match request {
            Request::CopyData(data) => copy.take(&data.data).await,
            Request::CopyDone(_) => {
                let Some(Copying { copy, .. }) = self.copying.take() else { return Ok(()) };
                let rows = copy.finish().await?;
                done(&mut self.client, format!("COPY {rows}")).await?;
                if extended { Ok(()) } else { self.ready().await }
            }
            Request::CopyFail(fail) => Err(plain("57014", format!("COPY from stdin failed: {}", fail.message))),
            // They may come while rows are sent, and mean nothing then.
            Request::Flush(_) | Request::Sync(_) => Ok(()),
            _ => Err(fatal("08P01", "this message is not expected during COPY")),
        }
    }

    /// A text of statements. Several that may stand in a transaction are one.
    async fn on_query(&mut self, sql: &str) -> PgWireResult<()> {
        // As PostgreSQL: the unnamed portal and statement end with it.
        self.portals.remove("");
        self.statements.remove("");
        if system::is_system(sql) {
            let rows = self.system.run(sql, self.session.user()).await.map_err(|error| of_engine(&error, sql))?;
            let mut rows = Rows::new(rows, &Format::UnifiedText);
            rows.describe(&mut self.client).await?;
            rows.send(&mut self.client, None, self.registration.listen()).await?;
            return self.ready().await;
        }
        let statements = self.session.engine().parse(sql).map_err(|error| of_engine(&error, sql))?;
        if statements.is_empty() {
            self.client.feed(Message::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
            return self.ready().await;
        }
        let together = statements.len() > 1 && statements.iter().all(is_transactional);
        let begun = together && self.session.begin_implicit().await?;
        let outcome = self.statements(&statements, sql).await;
        if begun {
            self.session.end_implicit(outcome.is_ok()).await?;
        }
        match outcome? {
            Next::Statement => self.ready().await,
            Next::Rows(copy) => {
                self.copying = Some(Copying { copy, extended: false });
                Ok(())
            }
        }
    }

    async fn statements(&mut self, statements: &[ParsedStatement], sql: &str) -> PgWireResult<Next> {
        for statement in statements {
            let next = self.statement(statement, sql).await?;
            if let Next::Rows(copy) = next {
                if statements.len() > 1 {
                    copy.abort().await;
                    return Err(plain("0A000", "COPY FROM STDIN must be sent by itself"));
                }
                return Ok(Next::Rows(copy));
            }
        }
        Ok(Next::Statement)
    }

    /// A statement of a simple query.
    async fn statement(&mut self, statement: &ParsedStatement, sql: &str) -> PgWireResult<Next> {
        if matches!(statement.statement, Statement::Query(_)) && system::is_system(&statement.text) {
            let rows =
                self.system.run(&statement.text, self.session.user()).await.map_err(|error| of_engine(&error, sql))?;
            return self.send_all(Rows::new(rows, &Format::UnifiedText)).await;
        }
        match self.execute(statement, sql).await? {
            Outcome::Rows(batches) => self.send_all(Rows::new(batches, &Format::UnifiedText)).await,
            Outcome::Fetched(batches) => {
                self.send_all(Rows::new(batches, &Format::UnifiedText).tagged("FETCH", true)).await
            }
            Outcome::Setting(name, value) => {
                let rows = Rows::new(setting(&name, &value)?, &Format::UnifiedText);
                self.send_all(rows.tagged("SHOW", false)).await
            }
            other => self.without_rows(other, statement, sql).await,
        }
    }

    async fn send_all(&mut self, mut rows: Rows) -> PgWireResult<Next> {
        rows.describe(&mut self.client).await?;
        rows.send(&mut self.client, None, self.registration.listen()).await?;
        Ok(Next::Statement)
    }

    /// Executes a statement unless it is cancelled.
    async fn execute(&mut self, statement: &ParsedStatement, sql: &str) -> PgWireResult<Outcome> {
        tokio::select! {
            outcome = self.session.execute(statement, sql) => outcome,
            () = self.registration.listen().wait() => Err(PgWireError::QueryCanceled),
        }
    }

    /// What a statement did that gives no rows.
    async fn without_rows(&mut self, outcome: Outcome, statement: &ParsedStatement, sql: &str) -> PgWireResult<Next> {
        match outcome {
            Outcome::Done(tag) => done(&mut self.client, tag).await?,
            Outcome::Noticed(tag, text) => {
                self.client.feed(Message::NoticeResponse(notice(text))).await?;
                done(&mut self.client, tag).await?;
            }
            Outcome::Deallocated(name) => {
                match &name {
                    Some(name) => drop(self.statements.remove(name)),
                    None => self.statements.clear(),
                }
                done(&mut self.client, if name.is_some() { "DEALLOCATE" } else { "DEALLOCATE ALL" }.into()).await?;
            }
            Outcome::Discarded => {
                self.statements.clear();
                self.portals.clear();
                done(&mut self.client, "DISCARD ALL".into()).await?;
            }
            Outcome::CopyIn(columns) => {
                let Statement::CopyFrom(copy) = &statement.statement else {
                    return Err(plain("XX000", "only COPY takes rows"));
                };
                let session = self.session.clone();
                let copy = CopyIn::start(&mut self.client, session, copy.clone(), columns, sql.to_owned()).await?;
                return Ok(Next::Rows(copy));
            }
            Outcome::CopyOut(rows, options) => {
                copy_out(&mut self.client, rows, &options, self.registration.listen()).await?;
            }
            Outcome::Rows(_) | Outcome::Fetched(_) | Outcome::Setting(..) => {}
        }
        Ok(Next::Statement)
    }

    async fn on_parse(&mut self, parse: Parse) -> PgWireResult<()> {
        let name = parse.name.unwrap_or_default();
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(plain("42P05", format!("prepared statement \"{name}\" already exists")));
        }
        let prepared = tokio::select! {
            prepared = prepare(&self.session, &self.system, parse.query, &parse.type_oids) => prepared?,
            () = self.registration.listen().wait() => return Err(PgWireError::QueryCanceled),
        };
        self.statements.insert(name, Arc::new(prepared));
        Ok(self.client.feed(Message::ParseComplete(ParseComplete::new())).await?)
    }

    async fn on_bind(&mut self, message: Bind) -> PgWireResult<()> {
        let prepared = self.prepared(message.statement_name.as_deref())?;
        let engine = self.session.engine();
        let formats = &message.parameter_format_codes;
        let portal = bind(engine, prepared, formats, &message.parameters, &message.result_column_format_codes)?;
        let name = message.portal_name.unwrap_or_default();
        if !name.is_empty() && self.portals.contains_key(&name) {
            return Err(plain("42P03", format!("portal \"{name}\" already exists")));
        }
        self.portals.insert(name, Open { portal: Arc::new(portal), rows: None, over: false });
        Ok(self.client.feed(Message::BindComplete(BindComplete::new())).await?)
    }

    fn prepared(&self, name: Option<&str>) -> PgWireResult<Arc<Prepared>> {
        let name = name.unwrap_or_default();
        self.statements.get(name).cloned().ok_or_else(|| unknown("prepared statement", "26000", name))
    }

    async fn on_describe(&mut self, message: Describe) -> PgWireResult<()> {
        let (columns, format) = if message.target_type == TARGET_TYPE_BYTE_PORTAL {
            let name = message.name.as_deref().unwrap_or_default();
            match self.portals.get(name) {
                Some(open) => (open.portal.prepared.columns.clone(), open.portal.format.clone()),
                None => {
                    let columns = self.session.cursor_columns(name).await;
                    (Some(columns.ok_or_else(|| unknown("portal", "34000", name))?), Format::UnifiedText)
                }
            }
        } else {
            let prepared = self.prepared(message.name.as_deref())?;
            let oids = prepared.parameters.iter().map(|parameter| parameter.oid()).collect();
            self.client.feed(Message::ParameterDescription(ParameterDescription::new(oids))).await?;
            (prepared.columns.clone(), Format::UnifiedText)
        };
        let message = match columns {
            None => Message::NoData(NoData::new()),
            Some(columns) => description(&fields(&columns, &format)),
        };
        Ok(self.client.feed(message).await?)
    }

    async fn on_execute(&mut self, message: Execute) -> PgWireResult<()> {
        let name = message.name.unwrap_or_default();
        let most = usize::try_from(message.max_rows).ok().filter(|most| *most > 0);
        let Some(mut open) = self.portals.remove(&name) else { return Err(unknown("portal", "34000", &name)) };
        if open.over {
            return Err(plain("55000", format!("portal \"{name}\" cannot be run")));
        }
        let portal = open.portal.clone();
        let rows = match open.rows.take() {
            Some(rows) => Some(rows),
            None => self.start(&portal).await?,
        };
        match rows {
            None => open.over = true,
            Some(mut rows) => match rows.send(&mut self.client, most, self.registration.listen()).await? {
                Sent::Enough => open.rows = Some(rows),
                Sent::All => open.over = true,
            },
        }
        self.portals.insert(name, open);
        Ok(())
    }

    /// Runs a portal. `None` if it gives no rows.
    async fn start(&mut self, portal: &Portal) -> PgWireResult<Option<Rows>> {
        let sql = &portal.prepared.sql;
        let statement = match &portal.what {
            What::Nothing => {
                self.client.feed(Message::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
                return Ok(None);
            }
            What::System(bound) => {
                let rows = self.system.run(bound, self.session.user()).await.map_err(|error| of_engine(&error, sql))?;
                return Ok(Some(Rows::new(rows, &portal.format)));
            }
            What::Statement(statement) => statement.clone(),
        };
        Ok(Some(match self.execute(&statement, sql).await? {
            Outcome::Rows(batches) => Rows::new(batches, &portal.format),
            Outcome::Fetched(batches) => Rows::new(batches, &portal.format).tagged("FETCH", true),
            Outcome::Setting(name, value) => Rows::new(setting(&name, &value)?, &portal.format).tagged("SHOW", false),
            other => {
                if let Next::Rows(copy) = self.without_rows(other, &statement, sql).await? {
                    self.copying = Some(Copying { copy, extended: true });
                }
                return Ok(None);
            }
        }))
    }

    async fn on_close(&mut self, message: Close) -> PgWireResult<()> {
        let name = message.name.unwrap_or_default();
        match message.target_type == TARGET_TYPE_BYTE_PORTAL {
            true => {
                self.portals.remove(&name);
                self.session.close_cursor(&name).await;
            }
            false => drop(self.statements.remove(&name)),
        }
        Ok(self.client.feed(Message::CloseComplete(CloseComplete::new())).await?)
    }
}

/// Whether a statement can be part of a transaction.
fn is_transactional(parsed: &ParsedStatement) -> bool {
    matches!(
        parsed.statement,
        Statement::Query(_)
            | Statement::Insert(_)
            | Statement::Change(_)
            | Statement::Set { .. }
            | Statement::Reset(_)
            | Statement::Show(_)
            | Statement::Describe(_)
            | Statement::Explain { .. }
            | Statement::ExplainChange(_)
    )
}
