//! The service of `proto/hubble/observer.proto`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::counted::Counted;
use super::flows::{self, Responses};
use super::nodes;
use super::proto::observer::observer_server::{Observer, ObserverServer};
use super::proto::observer::{
    EventsRequest, EventsResponse, GetFlowsRequest, GetNamespacesRequest, GetNamespacesResponse,
    GetNodesRequest, GetNodesResponse, ServerStatusRequest, ServerStatusResponse,
};
use crate::grpc::who;
use crate::http::App;
use crate::http::error::ApiError;
use crate::logging::grpc;

/// Most bytes of a request.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// The service.
pub(crate) fn server(app: Arc<App>) -> ObserverServer<impl Observer> {
    ObserverServer::new(Hubble { app, counted: Counted::default() })
        .max_decoding_message_size(MAX_REQUEST_BYTES)
}

struct Hubble {
    app: Arc<App>,
    counted: Counted,
}

/// The error as gRPC tells it.
pub(super) fn status(error: ApiError) -> Status {
    grpc::status(error)
}

fn no_agent() -> Status {
    Status::unimplemented("Weir has no agents of Cilium, and so none of their events")
}

#[tonic::async_trait]
impl Observer for Hubble {
    type GetFlowsStream = Responses;
    type GetAgentEventsStream = futures::stream::Empty<Result<EventsResponse, Status>>;
    type GetDebugEventsStream = futures::stream::Empty<Result<EventsResponse, Status>>;

    async fn get_flows(
        &self,
        request: Request<GetFlowsRequest>,
    ) -> Result<Response<Responses>, Status> {
        let principal = who(&request)?;
        flows::get(self.app.clone(), principal, request.get_ref()).await.map(Response::new)
    }

    async fn get_agent_events(
        &self,
        _: Request<EventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        Err(no_agent())
    }

    async fn get_debug_events(
        &self,
        _: Request<EventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        Err(no_agent())
    }

    async fn get_nodes(
        &self,
        request: Request<GetNodesRequest>,
    ) -> Result<Response<GetNodesResponse>, Status> {
        let nodes = nodes::nodes(&self.app, &self.counted, &who(&request)?).await;
        let nodes = nodes.map_err(|error| status(error.into()))?;
        Ok(Response::new(GetNodesResponse { nodes }))
    }

    async fn get_namespaces(
        &self,
        request: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        let namespaces = nodes::namespaces(&self.app, &who(&request)?).await;
        let namespaces = namespaces.map_err(|error| status(error.into()))?;
        Ok(Response::new(GetNamespacesResponse { namespaces }))
    }

    async fn server_status(
        &self,
        request: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Status> {
        let told = nodes::server_status(&self.app, &self.counted, &who(&request)?).await;
        told.map(Response::new).map_err(|error| status(error.into()))
    }
}
