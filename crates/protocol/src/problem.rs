use serde::{Deserialize, Serialize};

use crate::{InvalidJobId, InvalidUpdate, Refusal, RequestRefusal};

/// Each kind of refusal, by name: `spec/README.md`, section 11.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemType {
    /// The job id is not allowed.
    InvalidJobId,
    /// The body is not JSON.
    InvalidJson,
    /// A parameter is not allowed.
    InvalidParameter,
    /// The header `Host` is missing, or is no name of a server.
    InvalidHost,
    /// The server does not answer to this name.
    HostNotAllowed,
    /// The socket watches as many jobs as it may.
    TooManySubscriptions,
    /// No credential came, or none that is known or still holds.
    Unauthenticated,
    /// The credential does not allow this.
    Forbidden,
    /// The client does this more often than it may.
    TooManyRequests,
    /// A page of this origin may not do this.
    OriginNotAllowed,
    /// There is nothing at this address.
    NotFound,
    /// The job is not known.
    UnknownJob,
    /// The method is not allowed here.
    MethodNotAllowed,
    /// The body took too long.
    RequestTimeout,
    /// The body broke off.
    IncompleteBody,
    /// The attempt has ended.
    AttemptEnded,
    /// A later attempt has begun.
    AttemptSuperseded,
    /// The job takes no such request.
    NotCancellable,
    /// The update is too large.
    UpdateTooLarge,
    /// The batch is too large.
    BatchTooLarge,
    /// The update is not valid.
    InvalidUpdate,
    /// This address speaks WebSocket.
    UpgradeRequired,
    /// The request's header is too large.
    RequestHeaderTooLarge,
    /// The server failed.
    Internal,
    /// The broker holds as many jobs as it may.
    BrokerFull,
    /// The broker does not answer.
    BrokerUnavailable,
    /// What the broker holds for the job cannot be read.
    UnreadableJob,
    /// The server holds as many connections as it may.
    TooManyConnections,
    /// The server has no memory left for this.
    ServerFull,
    /// The server is going down.
    ShuttingDown,
}

impl ProblemType {
    /// Every type.
    pub const ALL: [Self; 30] = [
        Self::InvalidJobId,
        Self::InvalidJson,
        Self::InvalidParameter,
        Self::InvalidHost,
        Self::HostNotAllowed,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::TooManyRequests,
        Self::TooManySubscriptions,
        Self::OriginNotAllowed,
        Self::NotFound,
        Self::UnknownJob,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::IncompleteBody,
        Self::AttemptEnded,
        Self::AttemptSuperseded,
        Self::NotCancellable,
        Self::UpdateTooLarge,
        Self::BatchTooLarge,
        Self::InvalidUpdate,
        Self::UpgradeRequired,
        Self::RequestHeaderTooLarge,
        Self::Internal,
        Self::BrokerFull,
        Self::BrokerUnavailable,
        Self::UnreadableJob,
        Self::TooManyConnections,
        Self::ServerFull,
        Self::ShuttingDown,
    ];

    const fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::InvalidJobId => ("invalid-job-id", 400, "The job id is not allowed"),
            Self::InvalidJson => ("invalid-json", 400, "The body is not JSON"),
            Self::InvalidParameter => ("invalid-parameter", 400, "A parameter is not allowed"),
            Self::InvalidHost => ("invalid-host", 400, "The header Host is missing or invalid"),
            Self::HostNotAllowed => {
                ("host-not-allowed", 421, "The server does not answer to this name")
            }
            Self::Unauthenticated => ("unauthenticated", 401, "A valid credential is needed"),
            Self::Forbidden => ("forbidden", 403, "The credential does not allow this"),
            Self::TooManyRequests => ("too-many-requests", 429, "The client does this too often"),
            Self::TooManySubscriptions => {
                ("too-many-subscriptions", 400, "The socket watches as many jobs as it may")
            }
            Self::OriginNotAllowed => {
                ("origin-not-allowed", 403, "A page of this origin may not do this")
            }
            Self::NotFound => ("not-found", 404, "There is nothing at this address"),
            Self::UnknownJob => ("unknown-job", 404, "The job is not known"),
            Self::MethodNotAllowed => ("method-not-allowed", 405, "The method is not allowed here"),
            Self::RequestTimeout => ("request-timeout", 408, "The body took too long"),
            Self::IncompleteBody => ("incomplete-body", 400, "The body broke off"),
            Self::AttemptEnded => ("attempt-ended", 409, "The attempt has ended"),
            Self::AttemptSuperseded => ("attempt-superseded", 409, "A later attempt has begun"),
            Self::NotCancellable => ("not-cancellable", 409, "The job takes no such request"),
            Self::UpdateTooLarge => ("update-too-large", 413, "The update is too large"),
            Self::BatchTooLarge => ("batch-too-large", 413, "The batch is too large"),
            Self::InvalidUpdate => ("invalid-update", 422, "The update is not valid"),
            Self::UpgradeRequired => ("upgrade-required", 426, "This address speaks WebSocket"),
            Self::RequestHeaderTooLarge => {
                ("request-header-too-large", 431, "The request's header is too large")
            }
            Self::Internal => ("internal", 500, "The server failed"),
            Self::BrokerFull => ("broker-full", 503, "The broker holds as many jobs as it may"),
            Self::BrokerUnavailable => ("broker-unavailable", 503, "The broker does not answer"),
            Self::UnreadableJob => {
                ("unreadable-job", 503, "What the broker holds for the job cannot be read")
            }
            Self::TooManyConnections => {
                ("too-many-connections", 503, "The server holds as many connections as it may")
            }
            Self::ServerFull => ("server-full", 503, "The server has no memory left for this"),
            Self::ShuttingDown => ("shutting-down", 503, "The server is going down"),
        }
    }

    /// The name, which is the end of the `type`.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        self.row().1
    }

    /// The `title`: the same for every problem of this type.
    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// The `type`.
    pub fn uri(self) -> String {
        format!("{}{}", Self::URI_PREFIX, self.name())
    }

    /// The type with that `type`, if it is known here.
    pub fn from_uri(uri: &str) -> Option<Self> {
        let name = uri.strip_prefix(Self::URI_PREFIX)?;
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Whether a problem's `type` is Milepost's, also one that is not known here.
    pub fn is_uri(uri: &str) -> bool {
        uri.starts_with(Self::URI_PREFIX)
    }

    const URI_PREFIX: &str = "urn:milepost:problem:";
}

/// A refusal over HTTP: RFC 9457 problem details.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// Which kind of problem: `urn:milepost:problem:<name>`.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(schema_with = problem_type))]
    pub uri: String,
    /// The same for every problem of this type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong this time, and where.
    pub detail: String,
    /// The request that had this problem: `urn:milepost:request:<id>`, as in the header `X-Request-Id` of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub instance: Option<String>,
    /// The fields or parameters that were wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub errors: Vec<FieldError>,
    /// The latest attempt, where that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, minimum = 1))]
    pub attempt: Option<u32>,
    /// The present position, where that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::Position>, nullable = false))]
    pub position: Option<String>,
}

/// A field or parameter that was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// The field of the body: a JSON pointer (RFC 6901).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub pointer: Option<String>,
    /// The parameter of the query, or the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub parameter: Option<String>,
    /// What was wrong with it.
    pub detail: String,
}

impl Problem {
    /// A problem of that type; `detail` says what was wrong this time.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            uri: kind.uri(),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            instance: None,
            errors: Vec::new(),
            attempt: None,
            position: None,
        }
    }

    /// A parameter of the query, or a header, that is not allowed.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let mut problem = Self::new(ProblemType::InvalidParameter, format!("{name} {detail}"));
        problem.errors.push(FieldError { pointer: None, parameter: Some(name.to_owned()), detail });
        problem
    }
}

impl Problem {
    fn pointer(pointer: String, detail: String, of_field: String) -> Self {
        let mut problem = Self::new(ProblemType::InvalidUpdate, detail);
        problem.errors.push(FieldError {
            pointer: Some(pointer),
            parameter: None,
            detail: of_field,
        });
        problem
    }
}

impl From<InvalidJobId> for Problem {
    fn from(invalid: InvalidJobId) -> Self {
        Self::new(ProblemType::InvalidJobId, invalid.to_string())
    }
}

impl From<InvalidUpdate> for Problem {
    fn from(invalid: InvalidUpdate) -> Self {
        let detail = invalid.to_string();
        match invalid {
            InvalidUpdate::NotJson { .. } => Self::new(ProblemType::InvalidJson, detail),
            InvalidUpdate::JobId(_) => Self::new(ProblemType::InvalidJobId, detail),
            // The empty pointer is the whole document.
            InvalidUpdate::NotAnObject => Self::pointer(String::new(), detail.clone(), detail),
            InvalidUpdate::Field { name, detail: of_field } => {
                let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
                Self::pointer(pointer, detail, of_field)
            }
        }
    }
}

impl From<RequestRefusal> for Problem {
    fn from(refusal: RequestRefusal) -> Self {
        match refusal {
            RequestRefusal::Ended(refusal) => refusal.into(),
            RequestRefusal::UnknownJob => Self::new(ProblemType::UnknownJob, refusal.to_string()),
            RequestRefusal::NotCancellable | RequestRefusal::CancelRequested => {
                Self::new(ProblemType::NotCancellable, refusal.to_string())
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (kind, attempt, position) = match refusal {
            Refusal::AttemptEnded { attempt, position, .. } => {
                (ProblemType::AttemptEnded, attempt, position)
            }
            Refusal::AttemptSuperseded { attempt, position, .. } => {
                (ProblemType::AttemptSuperseded, attempt, position)
            }
        };
        let mut problem = Self::new(kind, refusal.to_string());
        problem.attempt = Some(attempt);
        problem.position = Some(position.to_string());
        problem
    }
}

/// The schema of the field `type`. Not an enumeration, since types may be added.
#[cfg(feature = "openapi")]
fn problem_type() -> utoipa::openapi::Schema {
    use std::fmt::Write as _;

    use utoipa::openapi::schema::{ObjectBuilder, Type};

    let mut description = "Which kind of problem: `urn:milepost:problem:<name>`.\n\n\
        | name | status | title |\n| --- | --- | --- |\n"
        .to_owned();
    for kind in ProblemType::ALL {
        // Writing into a String cannot fail.
        let _ =
            writeln!(description, "| `{}` | {} | {} |", kind.name(), kind.status(), kind.title());
    }
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^urn:milepost:problem:[a-z-]+$"))
        .description(Some(description))
        .examples(ProblemType::ALL.map(ProblemType::uri))
        .build()
        .into()
}
