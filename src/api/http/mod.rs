//! HTTP for people: health, status, metrics, accounts with proofs, blocks, transactions, and blocks as they come.
//!
//! **Owns** the HTTP server of a node: its connections, its limits, the table of its routes, their description. **May not**
//! be needed by anything below: a node without it is the same node. It runs on one thread beside the node's own, and a second
//! one that may wait for the disk.
//!
//! - Upon a connection: there are so many in all and of one address, and the last of all are for this machine. A few more are told
//!   so, or how the node is if they ask for that, and end; the rest is closed.
//! - Upon a head that does not come in time, or is too large or out of form: a refusal, and the connection ends. Upon a body: it
//!   has a deadline and a size.
//! - Upon a request: its address pays for it from an allowance that refills with time; what is dear costs more.
//! - Upon a question for state: it is answered from what the node's threads share ([`crate::net::NodeView`]).
//! - Upon a question that needs the disk: it waits for the second thread, with few others; more are told to come again.
//! - Upon rows: they go to the node's client port over a connection of their own, and so have the standing of a newcomer there,
//!   whatever others brought over HTTP. Limits for addresses are held here, for each who asks, and not there, where all of them
//!   would share one. How long a full node lets them wait is bounded here.
//! - Upon a listener of blocks: there are so many in all and of one address. It gets what the node tells one subscriber, through
//!   a queue of its own. Who does not read that in time gets a last event that says so.
//! - Upon a reader that takes no bytes: the connection ends.
//! - Upon whatever cannot be: an answer below 500 in JSON that says what is wrong. 503 says that the node is not ready, or busy,
//!   and why; nothing else above 500 is ever said.
//!
//! Why the node is safe from it: the event loop is asked nothing but what any client may ask, over its port and within its
//! bounds; and every wait here has an end.
//!
//! The table of routes ([`ROUTES`]) is what requests are led by and what the description ([`description`]) is made of, so
//! neither knows a route that the other lacks.

mod account;
mod ask;
mod block;
mod description;
mod door;
mod early;
mod health;
mod link;
mod metrics;
mod parse;
mod rates;
mod routes;
mod rows;
mod schemas;
mod server;
mod site;
mod stream;
mod transaction;

pub use ask::{HttpError, get};
pub use description::description;
pub use parse::{Refused, hex_key, number, query, submission};
pub use routes::{Answer, Body, Parameter, Place, ROUTES, Route};
pub use server::HttpServer;
pub use site::HttpLimits;
