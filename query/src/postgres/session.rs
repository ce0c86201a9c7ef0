//! One client: its statements, portals and transaction, message by message.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pgwire::messages::data::{FieldDescription, NoData, ParameterDescription, RowDescription};
use pgwire::messages::extendedquery::{
    BindComplete, CloseComplete, ParseComplete, PortalSuspended,
};
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ReadyForQuery, TransactionStatus,
};
use tokio_util::sync::CancellationToken;

use super::cancel::Key;
use super::channel::Channel;
use super::error::{Failure, warning};
use super::frame::{Bind, Message};
use super::parameters::parameters;
use super::portal::{Portal, Prepared, Run, Step};
use super::settings;
use super::startup::{Admitted, defect};
use super::statement::{Statement, classify, split};
use super::types::{Formats, Kind, description, parameter};
use crate::access::Principal;
use crate::engine::{Caller, Dialect, Request, SqlRequest};
use crate::guard::parameters::Parameter;
use crate::http::App;
use crate::metrics::Door;

/// Without a message a connection is closed after this time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Prepared statements of one connection.
const MAX_STATEMENTS: usize = 256;
/// Portals of one connection.
const MAX_PORTALS: usize = 64;
/// Longest name of either.
const MAX_NAME_BYTES: usize = 256;

/// A client that was let in.
pub(super) struct Session {
    app: Arc<App>,
    principal: Arc<Principal>,
    key: Key,
    channel: Channel,
    statements: HashMap<String, Prepared>,
    portals: HashMap<String, Portal>,
    transaction: TransactionStatus,
    /// After an error, messages up to the next `Sync` are not looked at.
    skipping: bool,
    shutdown: CancellationToken,
}

impl Session {
    pub(super) fn new(app: Arc<App>, admitted: Admitted, shutdown: CancellationToken) -> Self {
        let Admitted { reader, writer, principal, key } = admitted;
        Self {
            app,
            principal,
            key,
            channel: Channel::new(reader, writer),
            statements: HashMap::new(),
            portals: HashMap::new(),
            transaction: TransactionStatus::Idle,
            skipping: false,
            shutdown,
        }
    }

    /// Answers until the client goes.
    pub(super) async fn serve(mut self) {
        if let Err(failure) = self.messages().await {
            self.channel.close(failure).await;
        }
    }

    async fn messages(&mut self) -> Result<(), Failure> {
        self.ready().await?;
        while let Some(message) = self.next().await? {
            if message == Message::Terminate {
                return Ok(());
            }
            if let Err(failure) = self.message(message).await {
                self.failed(failure).await?;
            }
            self.channel.flush_if_full().await?;
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Message>, Failure> {
        let patience = if self.portals.values().any(|portal| portal.run.is_some()) {
            // A query that nobody goes on with must not keep its turn.
            self.app.engine.limits().timeout
        } else {
            IDLE_TIMEOUT
        };
        let waited = tokio::select! {
            came = self.channel.arrives() => came.map(|()| true)?,
            () = tokio::time::sleep(patience) => false,
            () = self.shutdown.cancelled() => {
                return Err(Failure::fatal("57P01", "the service stops"));
            }
        };
        if !waited {
            if patience == IDLE_TIMEOUT {
                return Err(Failure::fatal("57P05", "the connection was idle for an hour"));
            }
            self.portals.retain(|_, portal| portal.run.is_none());
            return Box::pin(self.next()).await;
        }
        let limit = self.app.engine.limits().request_bytes;
        self.channel.next(limit).await
    }

    async fn message(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Sync => {
                self.skipping = false;
                return self.ready().await;
            }
            Message::Query(text) => {
                // What is left of a copy that was refused, or of a pipeline.
                self.skipping = false;
                self.portals.remove("");
                if let Err(failure) = self.simple(&text).await {
                    self.tell(failure)?;
                }
                return self.ready().await;
            }
            _ if self.skipping => return Ok(()),
            Message::Parse { name, sql, types } => self.parse(name, &sql, types)?,
            Message::Bind(bind) => self.bind(bind)?,
            Message::Describe { portal: false, name } => self.describe_statement(&name).await?,
            Message::Describe { portal: true, name } => self.describe_portal(&name).await?,
            Message::Execute { portal, max_rows } => self.execute(&portal, max_rows).await?,
            Message::Close { portal: true, name } => {
                self.portals.remove(&name);
                self.channel.put(&CloseComplete::new())?;
            }
            Message::Close { portal: false, name } => {
                self.statements.remove(&name);
                self.channel.put(&CloseComplete::new())?;
            }
            Message::Flush => return self.channel.flush().await,
            Message::Copy => {}
            Message::Password(_) => return Err(Failure::protocol("nobody asked for a password")),
            Message::Terminate => {}
        }
        Ok(())
    }

    /// An error within the extended protocol, or one that ends the connection.
    async fn failed(&mut self, failure: Failure) -> Result<(), Failure> {
        if matches!(failure, Failure::Gone(_) | Failure::Told { fatal: true, .. }) {
            self.channel.flush().await?;
            return Err(failure);
        }
        self.skipping = true;
        self.tell(failure)
    }

    fn tell(&mut self, failure: Failure) -> Result<(), Failure> {
        let Failure::Told { code, message, position, fatal: false } = failure else {
            return Err(failure);
        };
        if self.transaction == TransactionStatus::Transaction {
            self.transaction = TransactionStatus::Error;
        }
        self.channel.put(&Failure::response(code, &message, position, false))
    }

    /// The statements of a simple query.
    async fn simple(&mut self, text: &str) -> Result<(), Failure> {
        let statements = split(text)?;
        if statements.is_empty() {
            self.channel.put(&EmptyQueryResponse::new())?;
        }
        for (begin, sql) in statements {
            let before = text[..begin].chars().count();
            let done = self.simple_one(sql).await;
            done.map_err(|failure| match failure {
                Failure::Told { code, message, position: Some(position), fatal } => {
                    Failure::Told { code, message, position: Some(before + position), fatal }
                }
                other => other,
            })?;
        }
        Ok(())
    }

    async fn simple_one(&mut self, sql: &str) -> Result<(), Failure> {
        let statement = classify(sql)?;
        let mut portal = Portal {
            statement,
            parameters: vec![],
            formats: Formats::default(),
            run: None,
            hold: false,
        };
        self.tell_columns(&mut portal, true).await?;
        self.advance(&mut portal, usize::MAX).await
    }

    fn parse(&mut self, name: String, sql: &str, types: Vec<u32>) -> Result<(), Failure> {
        let mut parts = split(sql)?;
        if parts.len() > 1 {
            return Err(Failure::new("42601", "a prepared statement is one statement"));
        }
        let statement = classify(parts.pop().map_or("", |(_, sql)| sql))?;
        if name.len() > MAX_NAME_BYTES {
            return Err(Failure::new("42622", "the name is too long"));
        }
        if self.statements.len() >= MAX_STATEMENTS && !self.statements.contains_key(&name) {
            return Err(Failure::new(
                "54000",
                format!("more than {MAX_STATEMENTS} prepared statements: close some"),
            ));
        }
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(Failure::new(
                "42P05",
                format!("prepared statement {name:?} is there already"),
            ));
        }
        self.statements.insert(name, Prepared { statement, types });
        self.channel.put(&ParseComplete::new())
    }

    fn bind(&mut self, bind: Bind) -> Result<(), Failure> {
        let prepared = self.prepared(&bind.statement)?;
        let parameters = parameters(&bind, &prepared.types)?;
        let statement = prepared.statement.clone();
        self.open(
            bind.portal,
            Portal {
                statement,
                parameters,
                formats: Formats(bind.result_formats),
                run: None,
                hold: false,
            },
        )?;
        self.channel.put(&BindComplete::new())
    }

    fn open(&mut self, name: String, portal: Portal) -> Result<(), Failure> {
        if name.len() > MAX_NAME_BYTES {
            return Err(Failure::new("42622", "the name is too long"));
        }
        if !name.is_empty() && self.portals.contains_key(&name) {
            return Err(Failure::new("42P03", format!("cursor {name:?} is there already")));
        }
        if self.portals.len() >= MAX_PORTALS && !self.portals.contains_key(&name) {
            return Err(Failure::new(
                "54000",
                format!("more than {MAX_PORTALS} cursors: close some"),
            ));
        }
        self.portals.insert(name, portal);
        Ok(())
    }

    fn prepared(&self, name: &str) -> Result<&Prepared, Failure> {
        self.statements.get(name).ok_or_else(|| {
            Failure::new("26000", format!("there is no prepared statement {name:?}"))
        })
    }

    async fn describe_statement(&mut self, name: &str) -> Result<(), Failure> {
        let Prepared { statement, types } = self.prepared(name)?.clone();
        let Statement::Query(sql) = &statement else {
            self.channel.put(&ParameterDescription::new(types))?;
            let mut portal = Portal {
                statement,
                parameters: vec![],
                formats: Formats::default(),
                run: None,
                hold: false,
            };
            return self.tell_columns(&mut portal, false).await;
        };
        let said = types.iter().map(|oid| parameter(*oid)).collect();
        let request = request(sql, vec![]);
        let caller = Caller::new(self.principal.clone(), Door::Postgres, sql);
        let cancelled = self.key.cancel.begin();
        let app = self.app.clone();
        let described = self.channel.watch(&cancelled, app.engine.describe(caller, request, said));
        let described = described.await?.map_err(|error| Failure::of(&error, sql, 0))?;
        let types: Vec<u32> = described
            .parameters
            .iter()
            .enumerate()
            .map(|(at, data_type)| match types.get(at) {
                Some(oid) if *oid != 0 => *oid,
                _ => parameter_type(data_type.as_ref()),
            })
            .collect();
        self.channel.put(&ParameterDescription::new(types.clone()))?;
        self.channel.put(&description(&described.schema, &Formats::default()))?;
        if let Some(prepared) = self.statements.get_mut(name) {
            prepared.types = types;
        }
        Ok(())
    }

    async fn describe_portal(&mut self, name: &str) -> Result<(), Failure> {
        let mut portal = self.take(name)?;
        let told = self.tell_columns(&mut portal, false).await;
        self.portals.insert(name.to_owned(), portal);
        told
    }

    async fn execute(&mut self, name: &str, max_rows: usize) -> Result<(), Failure> {
        let mut portal = self.take(name)?;
        let done = self.advance(&mut portal, max_rows).await;
        self.portals.insert(name.to_owned(), portal);
        done
    }

    fn take(&mut self, name: &str) -> Result<Portal, Failure> {
        self.portals.remove(name).ok_or_else(|| {
            Failure::new("34000", format!("there is no portal or cursor {name:?}; one whose rows nobody took in time is closed"))
        })
    }

    /// Tells the columns of what a portal gives. Queries begin with it. In the simple protocol, statements
    /// without columns say nothing.
    async fn tell_columns(&mut self, portal: &mut Portal, simple: bool) -> Result<(), Failure> {
        let columns = match &portal.statement {
            Statement::Query(_) => {
                self.begin(portal).await?;
                portal.run.as_ref().map(|run| description(run.schema(), &portal.formats))
            }
            Statement::Show(name) => Some(show_columns(name)),
            Statement::Fetch { cursor, .. } => {
                let mut open = self.take(cursor)?;
                let begun = self.begin(&mut open).await;
                let columns =
                    open.run.as_ref().map(|run| description(run.schema(), &portal.formats));
                self.portals.insert(cursor.clone(), open);
                begun?;
                columns
            }
            _ => None,
        };
        match columns {
            Some(columns) => self.channel.put(&columns),
            None if simple => Ok(()),
            None => self.channel.put(&NoData::new()),
        }
    }

    /// Begins the query of a portal, unless it has.
    async fn begin(&mut self, portal: &mut Portal) -> Result<(), Failure> {
        let Statement::Query(sql) = &portal.statement else { return Ok(()) };
        if portal.run.is_some() {
            return Ok(());
        }
        self.check_transaction()?;
        let caller = Caller::new(self.principal.clone(), Door::Postgres, sql);
        let request = Request::Sql(request(sql, portal.parameters.clone()));
        let cancelled = self.key.cancel.begin();
        let app = self.app.clone();
        let answer = self.channel.watch(&cancelled, app.engine.run(caller, request, usize::MAX));
        let answer = answer.await?.map_err(|error| Failure::of(&error, sql, 0))?;
        portal.run = Some(Run::new(answer, sql.clone()));
        Ok(())
    }

    fn check_transaction(&self) -> Result<(), Failure> {
        if self.transaction == TransactionStatus::Error {
            return Err(Failure::new("25P02", "the transaction has failed: send ROLLBACK"));
        }
        Ok(())
    }

    /// Goes on with a portal for so many rows.
    async fn advance(&mut self, portal: &mut Portal, max_rows: usize) -> Result<(), Failure> {
        let ends =
            [Statement::Commit, Statement::Rollback, Statement::RollbackTo, Statement::Empty];
        if !ends.contains(&portal.statement) {
            self.check_transaction()?;
        }
        let tag = match &portal.statement {
            Statement::Empty => return self.channel.put(&EmptyQueryResponse::new()),
            Statement::Query(_) => {
                self.begin(portal).await?;
                let Some(run) = portal.run.as_mut() else {
                    return Err(defect("a query is not there"));
                };
                if !self.pump(run, &portal.formats, max_rows).await? {
                    return self.channel.put(&PortalSuspended::new());
                }
                let warnings = run.warnings();
                let rows = run.rows;
                for text in warnings {
                    self.channel.put(&warning(&text))?;
                }
                format!("SELECT {rows}")
            }
            Statement::Fetch { cursor, rows } => {
                let mut open = self.take(cursor)?;
                let fetched = self.fetch(&mut open, &portal.formats, *rows).await;
                self.portals.insert(cursor.clone(), open);
                format!("FETCH {}", fetched?)
            }
            Statement::Show(name) => {
                let rows = self.show(&name.clone())?;
                for row in &rows {
                    self.channel.put_texts(row)?;
                }
                "SHOW".to_owned()
            }
            statement => {
                self.control(&statement.clone(), std::mem::take(&mut portal.parameters))?
            }
        };
        self.channel.put(&CommandComplete::new(tag))
    }

    async fn fetch(
        &mut self,
        open: &mut Portal,
        formats: &Formats,
        rows: usize,
    ) -> Result<usize, Failure> {
        self.begin(open).await?;
        let Some(run) = open.run.as_mut() else {
            return Err(Failure::new("34000", "this is no cursor"));
        };
        let before = run.rows;
        if self.pump(run, formats, rows).await? {
            for text in run.warnings() {
                self.channel.put(&warning(&text))?;
            }
        }
        Ok(run.rows - before)
    }

    /// Writes rows; whether that was the last of them.
    async fn pump(
        &mut self,
        run: &mut Run,
        formats: &Formats,
        max_rows: usize,
    ) -> Result<bool, Failure> {
        let cancelled = self.key.cancel.begin();
        let mut left = max_rows;
        loop {
            match self.channel.write(run, &mut left)? {
                Some(Step::End) => return Ok(true),
                Some(Step::Enough) => return Ok(false),
                Some(Step::Rows) => self.channel.flush().await?,
                None => self.channel.watch(&cancelled, run.fetch(formats)).await??,
            }
        }
    }

    /// What is about the session and needs no rows; gives the tag.
    fn control(
        &mut self,
        statement: &Statement,
        parameters: Vec<Parameter>,
    ) -> Result<String, Failure> {
        Ok(match statement {
            Statement::Begin => {
                self.transaction = TransactionStatus::Transaction;
                "BEGIN".into()
            }
            Statement::Commit | Statement::Rollback => {
                let failed = self.transaction == TransactionStatus::Error;
                self.transaction = TransactionStatus::Idle;
                let commits = *statement == Statement::Commit && !failed;
                if commits { "COMMIT".into() } else { "ROLLBACK".into() }
            }
            Statement::RollbackTo => {
                if self.transaction == TransactionStatus::Error {
                    self.transaction = TransactionStatus::Transaction;
                }
                "ROLLBACK".into()
            }
            Statement::Nothing(tag) => {
                if *tag == "DISCARD ALL" {
                    self.statements.clear();
                    self.portals.clear();
                }
                (*tag).into()
            }
            Statement::Deallocate(name) => {
                match name {
                    Some(name) => drop(self.statements.remove(name)),
                    None => self.statements.clear(),
                }
                "DEALLOCATE".into()
            }
            Statement::Declare { cursor, query } => {
                let statement = classify(query)?;
                if !matches!(statement, Statement::Query(_)) {
                    return Err(Failure::new("42601", "a cursor is declared for a SELECT"));
                }
                let formats = Formats::default();
                let portal = Portal { statement, parameters, formats, run: None, hold: true };
                self.open(cursor.clone(), portal)?;
                "DECLARE CURSOR".into()
            }
            Statement::Close(name) => {
                match name {
                    Some(name) => drop(self.take(name)?),
                    None => self.portals.retain(|_, portal| !portal.hold),
                }
                "CLOSE CURSOR".into()
            }
            Statement::Empty
            | Statement::Query(_)
            | Statement::Show(_)
            | Statement::Fetch { .. } => {
                return Err(defect("a statement with rows"));
            }
        })
    }

    fn show(&self, asked: &str) -> Result<Vec<Vec<String>>, Failure> {
        let all = settings::all(&self.principal.name, self.app.engine.limits().timeout);
        if asked == "all" {
            let rows =
                all.into_iter().map(|(name, value)| vec![name.to_owned(), value, String::new()]);
            return Ok(rows.collect());
        }
        let name = settings::name(asked);
        let found = all.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, value) = found.ok_or_else(|| {
            Failure::new("42704", format!("there is no setting {name:?}: SHOW ALL lists them"))
        })?;
        Ok(vec![vec![value]])
    }

    /// Says that the next statement may come.
    async fn ready(&mut self) -> Result<(), Failure> {
        if self.transaction == TransactionStatus::Idle {
            self.portals.retain(|_, portal| portal.hold);
        }
        self.channel.put(&ReadyForQuery::new(self.transaction))?;
        self.channel.flush().await
    }
}

fn request(sql: &str, parameters: Vec<Parameter>) -> SqlRequest {
    SqlRequest { parameters, dialect: Dialect::Postgres, ..SqlRequest::new(sql) }
}

fn show_columns(name: &str) -> RowDescription {
    let names = if name == "all" {
        vec!["name", "setting", "description"]
    } else {
        vec![settings::name(name)]
    };
    let text = Kind::Text.postgres().oid();
    let columns =
        names.into_iter().map(|name| FieldDescription::new(name.to_owned(), 0, 0, text, -1, -1, 0));
    RowDescription::new(columns.collect())
}

/// The type that a client is asked to send a parameter as.
fn parameter_type(data_type: Option<&arrow::datatypes::DataType>) -> u32 {
    let kind = data_type.map_or(Kind::Text, Kind::of);
    let asked = match kind {
        // Binary decimals are not read; no counter is larger.
        Kind::Numeric => Kind::Int8,
        other => other,
    };
    let oid = asked.postgres().oid();
    if parameter(oid).is_some() { oid } else { Kind::Text.postgres().oid() }
}
