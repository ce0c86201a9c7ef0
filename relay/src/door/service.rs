//! The Flight service: which calls there are and what the others answer.

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, Result as ActionResult, SchemaAsIpc,
    SchemaResult, Ticket,
};
use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use weir_flow::schema::loss::loss_schema;
use weir_flow::schema::objects::object_schema;
use weir_flow::schema::sent_schema;
use weir_flow::wire::{
    self, FLOWS, FollowTicket, HotTicket, LossTicket, OBJECTS, ObjectsTicket, STATUS_ACTION,
};

use super::{follow, get, put};
use crate::relay::Shared;

/// Serves the relay's state.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) shared: Arc<Shared>,
    pub(super) stop: CancellationToken,
}

type Messages<T> = BoxStream<'static, Result<T, Status>>;

#[async_trait]
impl FlightService for Service {
    type HandshakeStream = Messages<HandshakeResponse>;
    type ListFlightsStream = Messages<FlightInfo>;
    type DoGetStream = Messages<FlightData>;
    type DoPutStream = Messages<PutResult>;
    type DoExchangeStream = Messages<FlightData>;
    type DoActionStream = Messages<ActionResult>;
    type ListActionsStream = Messages<ActionType>;

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let answers = put::answers(self.shared.clone(), request.into_inner(), self.stop.clone());
        Ok(Response::new(answers.boxed()))
    }

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let ticket = request.into_inner().ticket;
        if let Ok(ObjectsTicket { objects: ticket }) = wire::decode(&ticket) {
            let view = self.shared.objects_view(&ticket);
            let messages = get::messages(&object_schema(), view);
            return Ok(Response::new(futures::stream::iter(messages).boxed()));
        }
        if let Ok(LossTicket { loss: ticket }) = wire::decode(&ticket) {
            let view = self.shared.hot().loss_view(&ticket);
            let messages = get::messages(&loss_schema(), view);
            return Ok(Response::new(futures::stream::iter(messages).boxed()));
        }
        if let Ok(FollowTicket { follow: ticket }) = wire::decode(&ticket) {
            let messages = follow::messages(self.shared.clone(), &ticket, self.stop.clone());
            return Ok(Response::new(messages.boxed()));
        }
        let ticket: HotTicket = wire::decode(&ticket).map_err(|error| {
            Status::invalid_argument(format!("the ticket does not ask for hot batches: {error}"))
        })?;
        let view = self.shared.hot().view(&ticket);
        let messages = get::messages(&sent_schema(), view);
        Ok(Response::new(futures::stream::iter(messages).boxed()))
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let action = request.into_inner().r#type;
        if action != STATUS_ACTION {
            return Err(Status::unimplemented(format!(
                "there is no action {action:?}, only {STATUS_ACTION:?}"
            )));
        }
        let body = wire::encode(&self.shared.hot().status());
        Ok(Response::new(futures::stream::iter([Ok(ActionResult { body })]).boxed()))
    }

    async fn list_actions(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        let status =
            ActionType { r#type: STATUS_ACTION.into(), description: "How the relay is.".into() };
        Ok(Response::new(futures::stream::iter([Ok(status)]).boxed()))
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let path = request.into_inner().path;
        let schema = match path.as_slice() {
            [name] if name == FLOWS => sent_schema(),
            [name] if name == OBJECTS => object_schema(),
            _ => {
                let only = format!("there is no stream {path:?}, only {FLOWS:?} and {OBJECTS:?}");
                return Err(Status::not_found(only));
            }
        };
        let options = Default::default();
        SchemaAsIpc::new(&schema, &options)
            .try_into()
            .map(Response::new)
            .map_err(|error| Status::internal(format!("cannot encode the schema: {error}")))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(not_offered("Handshake"))
    }

    async fn list_flights(
        &self,
        _: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(not_offered("ListFlights"))
    }

    async fn get_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Err(not_offered("GetFlightInfo"))
    }

    async fn poll_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        Err(not_offered("PollFlightInfo"))
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(not_offered("DoExchange"))
    }
}

fn not_offered(call: &str) -> Status {
    Status::unimplemented(format!(
        "the relay has no {call}: it takes flows by DoPut and gives hot batches by DoGet; \
         questions go to the query service"
    ))
}
