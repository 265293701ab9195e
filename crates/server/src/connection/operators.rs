//! A port of its own for operators: whoever reaches it needs no credential, so it is served apart from everything else.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::listen;
use crate::access::Hosts;
use crate::config::seconds;
use crate::instance::Instance;

/// The most connections. One more is closed.
const MAX_CONNECTIONS: usize = 32;

/// Serves what operators read, until the server drains.
pub(crate) async fn serve(listener: Arc<TcpListener>, router: Router, instance: Arc<Instance>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Nobody needs a credential here, so a page whose name resolves to this address must not be answered.
    let hosts = Arc::new(Hosts::new(&instance.config.hosts, false, false));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = instance.drain.begun() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Most likely out of open files, which the main port logs.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (hosts, router, instance) = (Arc::clone(&hosts), router.clone(), Arc::clone(&instance));
        let tasks = instance.tasks.clone();
        tasks.spawn(async move {
            serve_one(stream, &hosts, router, &instance).await;
            drop(slot);
        });
    }
}

async fn serve_one(stream: TcpStream, hosts: &Hosts, router: Router, instance: &Instance) {
    let config = &instance.config;
    if listen::tune(&stream, seconds(config.stall_timeout)).is_err() {
        return;
    }
    let service = service_fn(|request| answer(request, hosts, router.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(seconds(config.header_timeout))
        .max_headers(64)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // Its client ends a connection. Nothing is logged.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = instance.drain.begun() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = instance.drain.over() => {}
    }
}

async fn answer(
    request: Request<Incoming>,
    hosts: &Hosts,
    router: Router,
) -> Result<Response, Infallible> {
    match hosts.check(request.version(), request.uri(), request.headers()) {
        Ok(()) => router.oneshot(request).await,
        Err(refused) => Ok(refused.into_response()),
    }
}
