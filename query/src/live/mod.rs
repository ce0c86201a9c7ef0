//! Live flows: from each relay's stream of batches to every follower.
//!
//! [`hub`]: one stream a relay while anybody follows, handed to every follower's own queue.
//! [`follower`]: filters, orders, and says what was missed. [`position`]: where a follower goes on.

mod counter;
mod follower;
mod hub;
mod position;

pub(crate) use counter::count;
pub(crate) use follower::{Follower, Told};
pub(crate) use hub::Hub;
pub(crate) use position::Positions;
