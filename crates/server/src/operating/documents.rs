//! The documents that describe the interface: OpenAPI for HTTP, AsyncAPI for WebSockets.

use axum::Extension;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::openapi::ParameterRefused;
use crate::request::parameter::NoParameters;

/// The text of `/openapi.json`. The router makes it of its routes and hands it to [`openapi`].
#[derive(Clone)]
pub(crate) struct OpenApiText(pub(crate) Bytes);

/// This document, OpenAPI 3.1
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "Operating",
    responses(
        (status = 200, description = "OpenAPI 3.1.", content_type = "application/json"),
        ParameterRefused,
    ),
)]
pub(crate) async fn openapi(
    Extension(OpenApiText(text)): Extension<OpenApiText>,
    _: NoParameters,
) -> Response {
    document("application/json", text)
}

/// The messages of the WebSockets, AsyncAPI 3.0
#[utoipa::path(
    get, path = "/asyncapi.yaml", operation_id = "asyncapi", tag = "Operating",
    responses(
        (status = 200, description = "AsyncAPI 3.0.", content_type = "application/yaml"),
        ParameterRefused,
    ),
)]
pub(crate) async fn asyncapi(_: NoParameters) -> Response {
    let text = include_str!("../../asyncapi.yaml");
    document("application/yaml", Bytes::from_static(text.as_bytes()))
}

fn document(content_type: &'static str, text: Bytes) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text).into_response()
}
