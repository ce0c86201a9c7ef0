//! Which rows `GetFlows` asks for.

use prost_types::Timestamp;
use tonic::Status;

use super::filter::{self, FilterError, Selection};
use super::proto::observer::GetFlowsRequest;
use crate::engine::{FlowsRequest, Order};
use crate::filter::Filter;

/// Longest text of a request in lists and logs, in characters.
const MAX_TEXT: usize = 2_000;

/// A request that can be obeyed.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) selection: Selection,
    pub(super) span: Span,
    /// Nanoseconds since 1970; both ends are wanted.
    pub(super) since_ns: Option<i64>,
    pub(super) until_ns: Option<i64>,
    pub(super) follow: bool,
    /// What it says, for lists and logs.
    pub(super) text: String,
}

/// Which of the rows that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// None: new ones only.
    None,
    /// All.
    All,
    /// So many, the earliest.
    First(u64),
    /// So many, the latest.
    Last(u64),
}

impl Wanted {
    pub(super) fn new(request: &GetFlowsRequest) -> Result<Self, Status> {
        let invalid = |error: FilterError| Status::invalid_argument(error.to_string());
        let selection = filter::lower(&request.whitelist, &request.blacklist).map_err(invalid)?;
        let since_ns = request.since.as_ref().map(nanoseconds);
        let until_ns = request.until.as_ref().map(nanoseconds);
        let GetFlowsRequest { number, first, follow, .. } = *request;
        let span = match (number, first, since_ns) {
            (_, true, _) if follow => {
                return Err(Status::invalid_argument(
                    "first and follow exclude each other: leave one out",
                ));
            }
            (0, true, _) => {
                return Err(Status::invalid_argument("first needs a number greater than 0"));
            }
            (number, true, _) => Span::First(number),
            // A time says where to begin, whatever the number.
            (_, false, Some(_)) => Span::All,
            (0, false, None) if follow => Span::None,
            (0, false, None) => Span::All,
            (number, false, None) => Span::Last(number),
        };
        let mut wanted = Self { selection, span, since_ns, until_ns, follow, text: String::new() };
        wanted.text = wanted.describe();
        Ok(wanted)
    }

    fn describe(&self) -> String {
        let (span, follow) = (self.span, self.follow);
        let mut text = format!("GetFlows {span:?} follow={follow}");
        for (word, time) in [("since", self.since_ns), ("until", self.until_ns)] {
            text += &time.map(|time| format!(" {word}={time}")).unwrap_or_default();
        }
        if let Some(expr) = &self.selection.expr {
            text += &format!(" where {expr}").chars().take(MAX_TEXT).collect::<String>();
        }
        text
    }

    /// The rows that are there already: how to ask for at most `most` of them; `None` if none are wanted.
    pub(super) fn stored(&self, most: usize) -> Option<FlowsRequest> {
        let at_most = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).min(most);
        let (order, limit) = match self.span {
            Span::None => return None,
            // One more tells whether there are more.
            Span::All => (Order::Ascending, most.saturating_add(1)),
            Span::First(number) => (Order::Ascending, at_most(number)),
            Span::Last(number) => (Order::Descending, at_most(number)),
        };
        Some(FlowsRequest {
            filter: self.filter(),
            since: self.since_ns,
            until: self.until_ns.map(|until| until.saturating_add(1)),
            order,
            limit,
            earliest_first: true,
            ..FlowsRequest::default()
        })
    }

    /// Which rows.
    pub(super) fn filter(&self) -> Option<Filter> {
        self.selection.expr.clone().map(Filter::of)
    }

    /// Whether more rows than `most` were asked for by number.
    pub(super) fn exceeds(&self, most: usize) -> bool {
        match self.span {
            Span::First(number) | Span::Last(number) => {
                usize::try_from(number).unwrap_or(usize::MAX) > most
            }
            Span::None | Span::All => false,
        }
    }
}

/// Times beyond what can be stored are as far as possible.
fn nanoseconds(time: &Timestamp) -> i64 {
    time.seconds.saturating_mul(1_000_000_000).saturating_add(time.nanos.into())
}
