//! What Milepost says on the wire, as `spec/README.md` has it in words: job ids, updates, states and the
//! fold between them, positions, close codes, problems.
//!
//! No I/O, and nothing here reads the clock by itself: whoever needs the time passes it in, from [`Timestamp::now`]. The cases in `spec/fixtures` are run by this
//! crate's tests, and by those of every SDK.

mod attribute;
mod child_counts;
mod children;
mod close;
mod credential;
mod estimate;
mod fold;
mod health;
mod job_id;
mod json;
mod layout;
mod log_line;
mod pace;
mod position;
mod problem;
mod public;
mod request;
mod run;
#[cfg(feature = "openapi")]
mod schema;
mod stages;
mod state;
mod status;
mod timeline;
mod timestamp;
mod update;
mod usual;

pub use attribute::{Attribute, MAX_ATTRIBUTE_BYTES, MAX_NAME_BYTES, MAX_TAGS, MAX_UNIT_BYTES};
pub use child_counts::Children;
pub use children::{
    Ancestors, ChildStatus, ChildSummary, ChildTotals, InvalidParent, MAX_CHILDREN, MAX_LEVELS,
};
pub use close::{CloseCode, Reconnect};
pub use credential::{InvalidCredential, sendable, without_password};
pub use fold::{Fold, Origin, Refusal, fold, fold_with_usual};
pub use health::{Health, Patience};
pub use job_id::{InvalidJobId, JobId};
pub use log_line::{InvalidLogLine, LogLine, LogStream, MAX_LOG_LINE_BYTES};
pub use position::{Epoch, Position, Standing};
pub use problem::{FieldError, Problem, ProblemType};
pub use public::View;
pub use request::{Action, MAX_REQUEST_TEXT_BYTES, Request, RequestRefusal, Requested, request};
pub use stages::{MAX_STAGE_BYTES, Stage, parse as parse_stages};
pub use state::{InvalidState, State, StateView};
pub use status::Status;
pub use timeline::{
    AttemptSpan, MAX_ATTEMPTS, MAX_SAMPLES, MAX_STAGES, MAX_TIMELINE_BYTES, StageSpan, Timeline,
};
pub use timestamp::Timestamp;
pub use update::{InvalidUpdate, MAX_TTL_SECONDS, MAX_UPDATE_BYTES, SERVER_FIELDS, Update};
pub use usual::{MAX_RUNS, MAX_STAGE_RECORD_BYTES, NAME_TTL, Run, Runs, Usual};
