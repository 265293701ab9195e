//! Which problems an operation may be answered with.

use std::collections::BTreeMap;

use milepost_protocol::ProblemType;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, PartialSchema};

use super::schema::problem_example;

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
    ForgetRefused: InvalidJobId InvalidParameter OriginNotAllowed UnknownJob BrokerUnavailable;
    JobRefused: InvalidJobId UnknownJob BrokerUnavailable;
    HistoryRefused: InvalidJobId InvalidParameter UnknownJob BrokerUnavailable;
    PollRefused: InvalidJobId InvalidParameter UnknownJob BrokerUnavailable;
    WatchRefused: InvalidJobId InvalidParameter BrokerUnavailable;
    SocketRefused: InvalidParameter UpgradeRequired;
    ListRefused: InvalidParameter BrokerUnavailable;
    WatchersRefused: InvalidParameter;
    ReportRefused: InvalidJobId InvalidParameter InvalidJson IncompleteBody OriginNotAllowed RequestTimeout AttemptEnded AttemptSuperseded
        UpdateTooLarge InvalidUpdate BrokerFull BrokerUnavailable;
    RequestRefused: InvalidJobId InvalidJson InvalidParameter IncompleteBody OriginNotAllowed RequestTimeout UnknownJob
        AttemptEnded NotCancellable UpdateTooLarge BrokerFull BrokerUnavailable;
    BatchRefused: InvalidParameter IncompleteBody OriginNotAllowed RequestTimeout BatchTooLarge;
}

/// One response for each status, with an example of each problem.
fn responses(problems: &[ProblemType]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status = BTreeMap::<u16, Vec<ProblemType>>::new();
    for problem in problems {
        by_status.entry(problem.status()).or_default().push(*problem);
    }
    let response = |problems: Vec<ProblemType>| {
        let said = |problem: &ProblemType| format!("`{}`: {}.", problem.name(), problem.title());
        let description = problems.iter().map(said).collect::<Vec<_>>().join(" ");
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
        let retry = problems
            .iter()
            .any(|problem| problem.status() == 503 || *problem == ProblemType::UnknownJob);
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
