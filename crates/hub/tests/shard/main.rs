//! A shard without sockets: wires that take some bytes and then block, and a clock that the test moves.

#![expect(
    clippy::unchecked_time_subtraction,
    reason = "a clock that goes back is to fail the test"
)]

mod cases;
mod model;
mod stage;
