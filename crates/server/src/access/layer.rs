//! Checks that each request has the permission that its route needs.

use std::convert::Infallible;
use std::sync::Arc;

use axum::RequestExt;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Method, Uri};
use milepost_broker::Broker;
use milepost_protocol::{CloseCode, JobId, ProblemType};
use utoipa_axum::router::{UtoipaMethodRouter, UtoipaMethodRouterExt};

use super::credential::Credential;
use super::{Gate, Grant, foreign_page};

use crate::counters::count;
use crate::instance::Instance;
use crate::response::problem::{Outcome, Refused};

/// The permission that a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// To watch the job of the path, or some job.
    Watch,
    /// The same, for a WebSocket, where a refusal is a close code.
    Socket,
    /// To report the job of the path, or some job.
    Report,
    /// To control the job of the path.
    Control,
    /// To operate the server.
    Operate,
    /// None, but a credential shows more.
    Anything,
}

/// Why a WebSocket is closed as soon as it is open: a browser hides the status of a refused handshake from its page.
#[derive(Clone)]
pub(crate) struct SocketRefused(pub(crate) CloseCode, pub(crate) Refused);

/// A route with the permission that it needs.
pub(crate) trait Guarded {
    fn needs(self, instance: &Arc<Instance>, need: Need) -> Self;
}

impl Guarded for UtoipaMethodRouter<Arc<Instance>> {
    fn needs(self, instance: &Arc<Instance>, need: Need) -> Self {
        // A server without credentials pays nothing for the check.
        if instance.gate.is_none() {
            return self;
        }
        UtoipaMethodRouterExt::map(self, |router| router.needs(instance, need))
    }
}

impl Guarded for axum::routing::MethodRouter<Arc<Instance>> {
    fn needs(self, instance: &Arc<Instance>, need: Need) -> Self {
        if instance.gate.is_none() {
            return self;
        }
        let guard = (Arc::clone(instance), need);
        self.route_layer(from_fn_with_state(guard, check))
    }
}

async fn check(
    State((instance, need)): State<(Arc<Instance>, Need)>,
    mut request: Request,
    next: Next,
) -> Response {
    let job = job_of(&mut request).await;
    let (method, uri) = (request.method(), request.uri());
    let granted = grant(&instance, need, method, uri, request.headers(), job.as_ref()).await;
    match granted {
        Ok(grant) => {
            request.extensions_mut().insert(grant);
        }
        Err(refused) => match close_code(&refused) {
            Some(code) if need == Need::Socket => {
                request.extensions_mut().insert(SocketRefused(code, refused));
            }
            _ => return refused.into_response(),
        },
    }
    next.run(request).await
}

/// What the request is allowed, where it needs this permission and is about this job.
///
/// # Errors
/// If its credential is missing, invalid or does not allow it.
pub(crate) async fn grant(
    instance: &Instance,
    need: Need,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    job: Option<&JobId>,
) -> Outcome<Grant> {
    let Some(gate) = &instance.gate else { return Ok(Grant::Unguarded) };
    match credential(instance, need, method, uri, headers)? {
        Some(credential) => admit(instance, gate, need, credential, job).await,
        None => Ok(Grant::Nothing),
    }
}

/// The close code of a refusal that the client can do something about.
fn close_code(refused: &Refused) -> Option<CloseCode> {
    match ProblemType::from_uri(&refused.0.uri)? {
        ProblemType::Unauthenticated => Some(CloseCode::Unauthenticated),
        ProblemType::Forbidden => Some(CloseCode::Forbidden),
        _ => None,
    }
}

/// The job in the path. Handlers reject an invalid id.
async fn job_of(request: &mut Request) -> Option<JobId> {
    let parameters = request.extract_parts::<RawPathParams>().await.ok()?;
    let (_, job) = parameters.iter().find(|(name, _)| *name == "job_id")?;
    JobId::parse(job).ok()
}

/// The request's credential; none if none is needed.
fn credential<'a>(
    instance: &Instance,
    need: Need,
    method: &Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
) -> Outcome<Option<&'a str>> {
    let credential = Credential::of(headers, uri)
        .map_err(|_| Refused::parameter("authorization", "is given more than once"))?;
    let Some(credential) = credential else {
        if need == Need::Anything {
            return Ok(None);
        }
        count(&instance.counters.unauthenticated);
        let detail = "send a key or a token: Authorization: Bearer …";
        return Err(Refused::new(ProblemType::Unauthenticated, detail));
    };
    if credential.is_ambient {
        check_page(instance, method, headers, need)?;
    }
    Ok(Some(credential.text))
}

async fn admit(
    instance: &Instance,
    gate: &Gate,
    need: Need,
    credential: &str,
    job: Option<&JobId>,
) -> Outcome<Grant> {
    match gate.authenticate(credential, &*instance.clock).await {
        Ok(granted) => {
            let grant = Grant::Of(granted);
            let authorized = authorize(&grant, need, job, &*instance.broker).await;
            authorized.inspect_err(|_| count(&instance.counters.forbidden))?;
            Ok(grant)
        }
        Err(error) => {
            count(&instance.counters.unauthenticated);
            Err(Refused::new(ProblemType::Unauthenticated, error.to_string()))
        }
    }
}

/// Browsers send a cookie for any page, so the page has to be the server's own, or one that the operator named.
fn check_page(
    instance: &Instance,
    method: &Method,
    headers: &HeaderMap,
    need: Need,
) -> Outcome<()> {
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    foreign_page::check_ambient(instance, headers, changes || need == Need::Socket)
}

async fn authorize(
    grant: &Grant,
    need: Need,
    job: Option<&JobId>,
    broker: &dyn Broker,
) -> Outcome<()> {
    let Grant::Of(granted) = grant else { return Ok(()) };
    let allowed = &granted.permissions;
    let (is_allowed, what) = match (need, job) {
        (Need::Operate, _) => (allowed.operate, "operating the server"),
        (Need::Watch | Need::Socket, None) => (!allowed.watch.is_empty(), "watching any job"),
        (Need::Report, None) => (!allowed.report.is_empty(), "reporting any job"),
        (Need::Control, None) => (!allowed.control.is_empty(), "controlling any job"),
        // A job that may not be watched looks like an unknown job.
        (Need::Watch, Some(job)) if !grant.may_watch(job, broker).await? => {
            return Err(Refused::unknown_job(job));
        }
        (Need::Control, Some(job)) if !grant.may_control(job, broker).await? => {
            return Err(Refused::unknown_job(job));
        }
        (Need::Socket, Some(job)) => (grant.may_watch(job, broker).await?, "watching this job"),
        (Need::Report, Some(job)) => (grant.may_report(job), "reporting this job"),
        (Need::Anything, _) | (Need::Watch | Need::Control, Some(_)) => return Ok(()),
    };
    if is_allowed {
        return Ok(());
    }
    let detail = format!("the credential does not allow {what}");
    Err(Refused::new(ProblemType::Forbidden, detail))
}

impl FromRequestParts<Arc<Instance>> for Grant {
    type Rejection = Infallible;

    /// What the layer granted. A route without the layer grants nothing.
    async fn from_request_parts(
        parts: &mut Parts,
        instance: &Arc<Instance>,
    ) -> Result<Self, Infallible> {
        if instance.gate.is_none() {
            return Ok(Self::Unguarded);
        }
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or(Self::Nothing))
    }
}
