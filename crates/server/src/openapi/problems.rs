//! The problems that an operation may respond with.

use std::collections::BTreeMap;

use milepost_protocol::ProblemType;
use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, PartialSchema};

macro_rules! refusals {
    ($($name:ident: $($problem:ident)*;)*) => {$(
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                responses(&[$(ProblemType::$problem),*])
            }
        }
    )*};
}

refusals! {
    ForgetRefused: InvalidJobId InvalidParameter OriginNotAllowed UnknownJob TooManyRequests BrokerUnavailable UnreadableJob;
    JobRefused: InvalidJobId UnknownJob BrokerUnavailable UnreadableJob;
    HistoryRefused: InvalidJobId InvalidParameter UnknownJob BrokerUnavailable UnreadableJob;
    PollRefused: InvalidJobId InvalidParameter UnknownJob BrokerUnavailable UnreadableJob;
    ReadLogRefused: InvalidJobId InvalidParameter UnknownJob TooManyRequests BrokerUnavailable UnreadableJob;
    WatchRefused: InvalidJobId InvalidParameter TooManyRequests BrokerUnavailable UnreadableJob;
    SocketRefused: InvalidParameter OriginNotAllowed UpgradeRequired TooManyRequests;
    ListRefused: InvalidParameter BrokerUnavailable;
    ParameterRefused: InvalidParameter;
    ReportRefused: InvalidJobId InvalidParameter InvalidJson IncompleteBody OriginNotAllowed RequestTimeout AttemptEnded AttemptSuperseded
        UpdateTooLarge InvalidUpdate TooManyRequests BrokerFull BrokerUnavailable UnreadableJob;
    RequestRefused: InvalidJobId InvalidJson InvalidParameter IncompleteBody OriginNotAllowed RequestTimeout UnknownJob
        AttemptEnded NotCancellable UpdateTooLarge TooManyRequests BrokerFull BrokerUnavailable UnreadableJob;
    LogRefused: InvalidJobId InvalidParameter InvalidJson IncompleteBody OriginNotAllowed RequestTimeout UnknownJob BatchTooLarge
        TooManyRequests BrokerFull BrokerUnavailable UnreadableJob;
    BatchRefused: InvalidParameter IncompleteBody OriginNotAllowed RequestTimeout BatchTooLarge TooManyRequests;
}

/// One response for each status, with an example of each problem.
fn responses(problems: &[ProblemType]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status = BTreeMap::<u16, Vec<ProblemType>>::new();
    for problem in problems {
        by_status.entry(problem.status()).or_default().push(*problem);
    }
    let response = |problems: Vec<ProblemType>| {
        let sentence =
            |problem: &ProblemType| format!("`{}`: {}.", problem.name(), problem.title());
        let description = problems.iter().map(sentence).collect::<Vec<_>>().join(" ");
        let example = |problem: &ProblemType| {
            let example = ExampleBuilder::new().value(Some(problem_example(*problem))).build();
            (problem.name(), example)
        };
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .examples_from_iter(problems.iter().map(example))
            .build();
        let response = ResponseBuilder::new()
            .description(description)
            .content("application/problem+json", content);
        let retry = problems.iter().any(|problem| {
            matches!(problem.status(), 429 | 503) || *problem == ProblemType::UnknownJob
        });
        if !retry {
            return response.build();
        }
        let retry_after = HeaderBuilder::new()
            .schema(Some(u32::schema()))
            .description(Some("Seconds after which to ask again."))
            .build();
        response.header("Retry-After", retry_after).build()
    };
    let each = by_status.into_iter();
    each.map(|(status, problems)| (status.to_string(), response(problems).into())).collect()
}

/// The detail in the example of a problem.
fn problem_example(kind: ProblemType) -> Value {
    use ProblemType as T;
    let (detail, more) = match kind {
        T::InvalidJobId => {
            ("'/' is not allowed in a job id; allowed are A-Z a-z 0-9 - . _ ~ : @", json!({}))
        }
        T::InvalidJson => ("expected value at line 1 column 14", json!({})),
        T::InvalidParameter => (
            "limit is \"0\"; it must be 1 to 1000",
            json!({"errors": [{"parameter": "limit", "detail": "is \"0\"; it must be 1 to 1000"}]}),
        ),
        T::InvalidUpdate => (
            "progress is not a number or null: \"0.5\"",
            json!({"errors": [{"pointer": "/progress", "detail": "is not a number or null: \"0.5\""}]}),
        ),
        T::AttemptEnded => (
            "attempt 1 is completed; to try again, report attempt 2",
            json!({"attempt": 1, "position": "8f3a6c01d2e4b597-43"}),
        ),
        T::AttemptSuperseded => (
            "attempt 1 is over: the latest is 2",
            json!({"attempt": 2, "position": "8f3a6c01d2e4b597-44"}),
        ),
        T::UpdateTooLarge => ("at most 65536 bytes are allowed", json!({})),
        T::BatchTooLarge => ("at most 10000 lines are allowed", json!({})),
        T::UnknownJob => ("job_12345 was never reported here, or was forgotten", json!({})),
        T::RequestTimeout => ("the body had not arrived after 30 s", json!({})),
        T::BrokerFull => ("the broker is full: it holds 1000000 jobs", json!({})),
        T::ServerFull => ("the memory for bodies is used up: 16777216 bytes", json!({})),
        T::TooManyRequests => ("this client reports too many updates", json!({})),
        T::TooManyConnections => ("the server holds 10000 connections", json!({})),
        other => (other.title(), json!({})),
    };
    let mut problem = json!({
        "type": kind.uri(), "title": kind.title(), "status": kind.status(), "detail": detail,
    });
    if let (Some(problem), Value::Object(more)) = (problem.as_object_mut(), more) {
        problem.extend(more);
    }
    problem
}
