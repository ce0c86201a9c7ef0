//! The calls.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, CommandGetCatalogs,
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
    CommandGetXdbcTypeInfo, CommandPreparedStatementQuery, CommandPreparedStatementUpdate,
    CommandStatementQuery, CommandStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt,
    SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus,
    FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage,
    SchemaAsIpc, Ticket,
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use prost::Message as _;
use serde_json::json;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status, Streaming};

use super::handle::Handle;
use super::{cancel, keys, metadata, values};
use crate::access::Principal;
use crate::engine::{Answer, CATALOG, Caller, Next, Request as Query, SqlRequest};
use crate::error::QueryError;
use crate::grpc::who;
use crate::guard::{self, Described};
use crate::http::{App, secret};
use crate::metrics::Door;
use crate::output::COMPLETENESS;

const SCHEMA: &str = "public";
const TABLE: &str = "TABLE";
/// The action of Flight itself, which is not one of Flight SQL.
const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";

/// Flight SQL.
#[derive(Clone)]
pub(crate) struct FlightSql(pub(super) Arc<App>);

type Rows = <FlightSql as FlightService>::DoGetStream;

impl FlightSql {
    async fn describe(
        &self,
        principal: &Arc<Principal>,
        request: SqlRequest,
    ) -> Result<Described, Status> {
        let caller = Caller::new(principal.clone(), Door::FlightSql, request.sql.clone());
        self.0.engine.describe(caller, request, vec![]).await.map_err(|error| status(&error))
    }

    async fn info<T>(
        &self,
        handle: &Handle,
        ticket: &impl ProstMessageExt,
        request: &Request<T>,
        descriptor: FlightDescriptor,
    ) -> Result<Response<FlightInfo>, Status> {
        let described = self.describe(&who(request)?, handle.request()?).await?;
        info(&sent(&described.schema), ticket, descriptor)
    }

    async fn rows<T>(&self, handle: &[u8], request: &Request<T>) -> Result<Response<Rows>, Status> {
        let handle = Handle::read(handle)?;
        let query = handle.request()?;
        let mut caller = Caller::new(who(request)?, Door::FlightSql, query.sql.clone());
        caller.ticket = handle.number;
        let answer = self.0.engine.run(caller, Query::Sql(query), usize::MAX).await;
        Ok(Response::new(send(answer.map_err(|error| status(&error))?)))
    }

    /// The tables and their columns, the same for everybody.
    async fn tables(&self, principal: &Arc<Principal>) -> Result<Vec<(String, SchemaRef)>, Status> {
        let mut tables = Vec::new();
        for table in weir_flow::schema::tables() {
            let request = SqlRequest::new(format!("select * from {}", table.name));
            let described = self.describe(principal, request).await?;
            tables.push((table.name.to_owned(), sent(&described.schema)));
        }
        Ok(tables)
    }
}

#[tonic::async_trait]
impl FlightSqlService for FlightSql {
    type FlightService = Self;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<
        Response<Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>>,
        Status,
    > {
        who(&request)?;
        let headers = request.metadata().clone().into_headers();
        let token = secret(&headers).unwrap_or_default().into_owned();
        let payload = Bytes::from(token.clone());
        let answer = HandshakeResponse { protocol_version: 0, payload };
        let mut response: Response<Pin<Box<dyn Stream<Item = _> + Send>>> =
            Response::new(Box::pin(stream::iter([Ok(answer)])));
        if !token.is_empty() {
            let bearer = MetadataValue::try_from(format!("Bearer {token}"))
                .map_err(|_| Status::invalid_argument("the token has strange characters"))?;
            response.metadata_mut().insert("authorization", bearer);
        }
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let handle = Handle::new(query.query).numbered()?;
        let ticket = TicketStatementQuery { statement_handle: handle.write()? };
        self.info(&handle, &ticket, &request, request.get_ref().clone()).await
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let handle = Handle::read(&query.prepared_statement_handle)?.numbered()?;
        let ticket = CommandPreparedStatementQuery { prepared_statement_handle: handle.write()? };
        self.info(&handle, &ticket, &request, request.get_ref().clone()).await
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<Rows>, Status> {
        self.rows(&ticket.statement_handle, &request).await
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<Rows>, Status> {
        self.rows(&query.prepared_statement_handle, &request).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let described =
            self.describe(&who(&request)?, SqlRequest::new(query.query.clone())).await?;
        let parameters = described.parameters.iter().enumerate().map(|(at, data_type)| {
            let data_type = data_type.clone().map_or(DataType::Utf8, plain);
            Field::new(format!("${}", at + 1), data_type, true)
        });
        let parameters = Schema::new(parameters.collect::<Vec<_>>());
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: Handle::new(query.query).write()?,
            dataset_schema: ipc(&sent(&described.schema))?,
            parameter_schema: ipc(&parameters)?,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        _: ActionClosePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let mut handle = Handle::read(&query.prepared_statement_handle)?;
        let messages = request.into_inner().take(values::MAX_MESSAGES);
        handle.values = Some(values::read(messages.try_collect().await?)?);
        let prepared_statement_handle = Some(handle.write()?);
        Ok(DoPutPreparedStatementResult { prepared_statement_handle })
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let info = FlightInfo::decode(query.info)
            .map_err(|error| Status::invalid_argument(format!("no FlightInfo: {error}")))?;
        let principal = who(&request)?;
        cancel::cancel(self.0.engine.running(), &info, &principal)?;
        // The older message has the same numbers.
        Ok(ActionCancelQueryResult { result: CancelStatus::Cancelled.into() })
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<<Self as FlightService>::DoActionStream>, Status> {
        let Action { r#type, body } = request.get_ref();
        if r#type != CANCEL_FLIGHT_INFO {
            return Err(Status::invalid_argument(format!("there is no action {:?}", r#type)));
        }
        let asked = CancelFlightInfoRequest::decode(body.clone())
            .map_err(|error| Status::invalid_argument(format!("no FlightInfo: {error}")))?;
        let info =
            asked.info.ok_or_else(|| Status::invalid_argument("the FlightInfo is missing"))?;
        let principal = who(&request)?;
        cancel::cancel(self.0.engine.running(), &info, &principal)?;
        let result = CancelFlightInfoResult::new(CancelStatus::Cancelled).encode_to_vec();
        let result = arrow_flight::Result { body: result.into() };
        Ok(Response::new(Box::pin(stream::iter([Ok(result)]))))
    }

    async fn list_custom_actions(&self) -> Option<Vec<Result<ActionType, Status>>> {
        Some(vec![Ok(ActionType {
            r#type: CANCEL_FLIGHT_INFO.into(),
            description:
                "Ends what runs for the tickets of a FlightInfo: CancelFlightInfoRequest, \
                          CancelFlightInfoResult"
                    .into(),
        })])
    }

    async fn do_put_statement_update(
        &self,
        _: CommandStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(status(&guard::refuse_writes()))
    }

    async fn do_put_prepared_statement_update(
        &self,
        _: CommandPreparedStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(status(&guard::refuse_writes()))
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&query.into_builder().schema(), &query, request.into_inner())
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        _: Request<Ticket>,
    ) -> Result<Response<Rows>, Status> {
        let mut catalogs = query.into_builder();
        catalogs.append(CATALOG);
        one(catalogs.build())
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&query.clone().into_builder().schema(), &query, request.into_inner())
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        _: Request<Ticket>,
    ) -> Result<Response<Rows>, Status> {
        let mut schemas = query.into_builder();
        schemas.append(CATALOG, SCHEMA);
        one(schemas.build())
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&query.clone().into_builder().schema(), &query, request.into_inner())
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        request: Request<Ticket>,
    ) -> Result<Response<Rows>, Status> {
        let tables = self.tables(&who(&request)?).await?;
        let mut builder = query.into_builder();
        for (name, schema) in tables {
            let appended = builder.append(CATALOG, SCHEMA, name, TABLE, &schema);
            appended.map_err(|error| Status::internal(error.to_string()))?;
        }
        one(builder.build())
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&query.into_builder().schema(), &query, request.into_inner())
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        _: Request<Ticket>,
    ) -> Result<Response<Rows>, Status> {
        let mut types = query.into_builder();
        types.append(TABLE);
        one(types.build())
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = query.clone().into_builder(metadata::sql_info()?).schema();
        info(&schema, &query, request.into_inner())
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        _: Request<Ticket>,
    ) -> Result<Response<Rows>, Status> {
        one(query.into_builder(metadata::sql_info()?).build())
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = query.into_builder(metadata::types()?).schema();
        info(&schema, &query, request.into_inner())
    }

    async fn do_get_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        _: Request<Ticket>,
    ) -> Result<Response<Rows>, Status> {
        one(query.into_builder(metadata::types()?).build())
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&keys::primary().schema(), &query, request.into_inner())
    }

    async fn do_get_primary_keys(
        &self,
        _: CommandGetPrimaryKeys,
        _: Request<Ticket>,
    ) -> Result<Response<Rows>, Status> {
        one(Ok(keys::primary()))
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&keys::foreign().schema(), &query, request.into_inner())
    }

    async fn do_get_exported_keys(
        &self,
        _: CommandGetExportedKeys,
        _: Request<Ticket>,
    ) -> Result<Response<Rows>, Status> {
        one(Ok(keys::foreign()))
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&keys::foreign().schema(), &query, request.into_inner())
    }

    async fn do_get_imported_keys(
        &self,
        _: CommandGetImportedKeys,
        _: Request<Ticket>,
    ) -> Result<Response<Rows>, Status> {
        one(Ok(keys::foreign()))
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&keys::foreign().schema(), &query, request.into_inner())
    }

    async fn do_get_cross_reference(
        &self,
        _: CommandGetCrossReference,
        _: Request<Ticket>,
    ) -> Result<Response<Rows>, Status> {
        one(Ok(keys::foreign()))
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}

/// Where the rows of a command are.
fn info(
    schema: &Schema,
    ticket: &impl ProstMessageExt,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let ticket = Ticket { ticket: ticket.as_any().encode_to_vec().into() };
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| Status::internal(error.to_string()))?
        .with_descriptor(descriptor)
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket));
    Ok(Response::new(info))
}

/// An answer of one batch.
fn one(batch: Result<RecordBatch, FlightError>) -> Result<Response<Rows>, Status> {
    let batch = batch.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let schema = batch.schema();
    let rows = stream::iter([Ok(batch)]);
    let encoded = FlightDataEncoderBuilder::new().with_schema(schema).build(rows);
    Ok(Response::new(Box::pin(encoded.map_err(Into::into))))
}

/// Sends the rows as the client takes them. What is known before the first of them, completeness and
/// warnings, stands with the schema.
fn send(answer: Answer) -> Rows {
    let mut schema = Schema::clone(&sent(answer.schema()));
    let completeness = answer.completeness();
    if let Some(completeness) = completeness {
        schema.metadata.insert(COMPLETENESS.into(), completeness.to_ascii());
    }
    let told = json!({"warnings": answer.warnings(), "completeness": completeness});
    let schema = Arc::new(schema);
    let columns = schema.clone();
    let rows = stream::try_unfold(Some(answer), move |answer| {
        let columns = columns.clone();
        async move {
            let Some(mut answer) = answer else { return Ok(None) };
            match answer.next().await {
                Ok(Next::Batch(batch)) => {
                    let batch = hydrate(&batch, &columns)?;
                    Ok(Some((batch, Some(answer))))
                }
                // There is no place behind the rows where a client would look.
                Ok(Next::End(end)) if end.truncated => {
                    Err(FlightError::Tonic(Box::new(Status::resource_exhausted(format!(
                        "the answer has more than {} rows: ask for fewer with LIMIT, or raise the limit `max_rows` \
                         of the query service",
                        answer.limit()
                    )))))
                }
                Ok(Next::End(_)) => Ok(None),
                Err(error) => Err(FlightError::Tonic(Box::new(status(&error)))),
            }
        }
    });
    let encoded = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_metadata(told.to_string().into())
        .build(rows);
    Box::pin(encoded.map_err(Into::into))
}

/// The columns as they are sent: without dictionaries, which drivers read in many ways.
fn sent(schema: &SchemaRef) -> SchemaRef {
    let fields = schema
        .fields()
        .iter()
        .map(|field| Field::clone(field).with_data_type(plain(field.data_type().clone())));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn plain(data_type: DataType) -> DataType {
    let inner = |field: Arc<Field>| {
        let data_type = plain(field.data_type().clone());
        Arc::new(Field::clone(&field).with_data_type(data_type))
    };
    match data_type {
        DataType::Dictionary(_, values) => plain(*values),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), sorted),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| inner(field.clone())).collect())
        }
        other => other,
    }
}

fn hydrate(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, FlightError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| arrow::compute::cast(column, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let rows =
        arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &rows)?)
}

fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let message = IpcMessage::try_from(SchemaAsIpc::new(schema, &options));
    message.map(|message| message.0).map_err(|error| Status::internal(error.to_string()))
}

fn status(error: &QueryError) -> Status {
    let code = match error {
        QueryError::Invalid(_)
        | QueryError::Syntax { .. }
        | QueryError::NoTable(_)
        | QueryError::NoColumn(_)
        | QueryError::ReadOnly(_) => Code::InvalidArgument,
        QueryError::OutOfMemory(_)
        | QueryError::TooBusy { .. }
        | QueryError::TooManyFollowers(_) => Code::ResourceExhausted,
        QueryError::TimedOut(_) => Code::DeadlineExceeded,
        QueryError::Gone(_) => Code::NotFound,
        QueryError::Killed(_) => Code::Cancelled,
        QueryError::Forbidden(_) => Code::PermissionDenied,
        QueryError::Unavailable(_) => Code::Unavailable,
        QueryError::Internal(_) => Code::Internal,
    };
    Status::new(code, error.to_string())
}
