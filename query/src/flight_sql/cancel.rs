//! Ending a query by the `FlightInfo` that its ticket came with.

use arrow_flight::sql::{Any, Command};
use arrow_flight::{FlightInfo, Ticket};
use prost::Message as _;
use tonic::Status;

use super::handle::{Handle, Number};
use crate::access::Principal;
use crate::engine::Running;

/// Ends what runs for the tickets; it has to be the principal's own, or the principal an admin.
///
/// # Errors
/// `NOT_FOUND`: nothing runs for them that this one may end.
pub(super) fn cancel(
    running: &Running,
    info: &FlightInfo,
    principal: &Principal,
) -> Result<(), Status> {
    let tickets = info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref());
    let ended = tickets
        .filter_map(number)
        // All of them, also behind the first.
        .filter(|number| running.kill_ticket(number, principal))
        .count()
        > 0;
    if ended {
        return Ok(());
    }
    Err(Status::not_found(
        "no query runs for this FlightInfo that you may end: it has ended, or has not begun",
    ))
}

fn number(ticket: &Ticket) -> Option<Number> {
    let command = Command::try_from(Any::decode(ticket.ticket.as_ref()).ok()?).ok()?;
    let handle = match command {
        Command::TicketStatementQuery(query) => query.statement_handle,
        Command::CommandPreparedStatementQuery(query) => query.prepared_statement_handle,
        _ => return None,
    };
    Handle::read(&handle).ok()?.number
}
