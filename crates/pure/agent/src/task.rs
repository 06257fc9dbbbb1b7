//! The life of a task on its node: what its container does next, and what the managers are told of it.

pub(crate) mod drain;
pub(crate) mod life;

mod plan;
mod report;

pub use drain::draining;
pub use plan::plan;
pub use report::reports;
