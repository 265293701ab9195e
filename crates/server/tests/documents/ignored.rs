//! Nothing is accepted and then ignored, but for what section 9 of `spec/README.md` names. The cases come from
//! `/openapi.json`, so that they cover each new route.

use serde_json::Value;

use crate::openapi::{Document, Operation};
use crate::support::{Response, Server};

/// Those that ignore their query, as clients of the Python service and probes need it.
const LENIENT: [&str; 6] =
    ["/jobs/{job_id}/status", "/health", "/ws/stats", "/livez", "/readyz", "/metrics"];
const SOCKETS: [&str; 2] = ["/ws", "/ws/jobs/{job_id}"];

fn refused_name(answer: &Response, what: &str) -> String {
    assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid-parameter"), "{what}");
    answer.json()["errors"][0]["parameter"].as_str().expect("a name").to_owned()
}

impl Operation<'_> {
    fn method(&self) -> &str {
        self.name.split(' ').next().unwrap()
    }

    async fn ask(&self, server: &Server, query: &str, headers: &str, body: &str) -> Response {
        let path = self.path.replace("{job_id}", "a");
        server.request(self.method(), &format!("{path}{query}"), headers, body).await
    }

    fn parameters(&self, of: &str) -> impl Iterator<Item = &Value> {
        let parameters = self.described["parameters"].as_array().into_iter().flatten();
        parameters.filter(move |parameter| parameter["in"] == of)
    }

    /// A body of a request that changes nothing that other cases need.
    fn body(&self) -> &'static str {
        match self.path {
            "/jobs/{job_id}/requests" => r#"{"action":"cancel"}"#,
            "/jobs/{job_id}/log" | "/updates" => "",
            _ => "{}",
        }
    }
}

#[tokio::test]
async fn unknown_parameters_are_refused_on_each_route() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    let spec = include_str!("../../../../spec/README.md");
    for operation in document.operations() {
        if SOCKETS.contains(&operation.path) {
            continue;
        }
        let what = &operation.name;
        server.report("a", r#"{"cancellable":true}"#).await;
        let body = if operation.method() == "POST" { operation.body() } else { "" };
        let answer = operation.ask(&server, "?_=1&token=x&colour=1&colour=2", "", body).await;
        if LENIENT.contains(&operation.path) {
            assert_eq!(answer.status, 200, "{what}: {answer:?}");
            assert!(spec.contains(&format!("`{}`", operation.path)), "{what}");
            continue;
        }
        assert_eq!(refused_name(&answer, what), "colour");
        let detail = answer.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
        for parameter in operation.parameters("query") {
            assert!(detail.contains(parameter["name"].as_str().unwrap()), "{what}: {detail}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn parameters_that_are_given_twice_are_refused() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    server.report("a", "{}").await;
    let (mut once, mut repeatable) = (0, 0);
    for operation in document.operations() {
        for parameter in operation.parameters("query") {
            let name = parameter["name"].as_str().unwrap();
            let what = format!("{} {name}", operation.name);
            let schema = parameter["schema"].to_string();
            let value = match name {
                "wait" => "0",
                "follow" | "counts" => "false",
                "mode" => "all",
                "close" => "end",
                "status" => "queued",
                "health" => "ok",
                "sort" => "name",
                // A request's `at`; elsewhere a page's `next`.
                "after" if operation.path.ends_with("/requests") => "2024-01-01T00:00:00Z",
                _ => "1",
            };
            let query = format!("?{name}={value}&{name}={value}");
            if schema.contains("\"array\"") {
                repeatable += 1;
                assert_eq!(operation.ask(&server, &query, "", "").await.status, 200, "{what}");
            } else {
                once += 1;
                let headers = if SOCKETS.contains(&operation.path) { HANDSHAKE } else { "" };
                let answer = operation.ask(&server, &query, headers, "").await;
                if answer.status == 101 {
                    let error = format!("\"invalid-parameter\",\"message\":\"{name} is given");
                    assert!(answer.body.contains(&error), "{what}: {answer:?}");
                } else {
                    assert_eq!(refused_name(&answer, &what), name, "{what}");
                }
            }
        }
        for header in
            operation.parameters("header").filter(|header| header["name"] == "Last-Event-ID")
        {
            let name = header["name"].as_str().unwrap();
            let query = if operation.path.ends_with("/log") { "?follow=1" } else { "" };
            let headers = format!("{name}: 1-1\r\n{name}: 1-2\r\n");
            let answer = operation.ask(&server, query, &headers, "").await;
            assert_eq!(refused_name(&answer, &operation.name), name);
            once += 1;
        }
    }
    assert!(once > 20 && repeatable == 4, "{once} {repeatable}");
    server.stop().await;
}

const HANDSHAKE: &str = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn headers_that_would_change_a_request_are_refused() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    for operation in document.operations() {
        let what = &operation.name;
        server.report("a", r#"{"cancellable":true}"#).await;
        if operation.method() == "POST" || operation.method() == "DELETE" {
            let body = if operation.method() == "POST" { operation.body() } else { "" };
            for (header, value) in [
                ("if-match", "\"1-1\""),
                ("if-none-match", "*"),
                ("if-modified-since", "Mon, 01 Jan 2024 00:00:00 GMT"),
                ("if-unmodified-since", "Mon, 01 Jan 2024 00:00:00 GMT"),
                ("content-encoding", "br"),
                ("content-range", "bytes 0-1/4"),
            ] {
                let answer =
                    operation.ask(&server, "", &format!("{header}: {value}\r\n"), body).await;
                assert_eq!(refused_name(&answer, what), header);
            }
        }
        if operation.method() != "POST" {
            let lenient =
                LENIENT.contains(&operation.path) || operation.path == "/ws/jobs/{job_id}";
            let answer = operation.ask(&server, "", "", "{}").await;
            if lenient {
                assert_ne!(answer.status, 400, "{what}");
            } else {
                assert_eq!(refused_name(&answer, what), "content-length");
            }
        }
    }
    // The whole is answered, whatever part is asked for (RFC 9110, section 14.2).
    for path in ["/jobs/a/status", "/openapi.json", "/", "/milepost.js"] {
        let part = "range: bytes=0-1\r\nif-range: \"x\"\r\naccept: image/png\r\n";
        let answer = server.request("GET", path, part, "").await;
        assert_eq!((answer.status, answer.header("content-range")), (200, None), "{path}");
        assert_eq!(answer.body, server.get(path).await.body, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn pages_leave_their_query_to_the_browser() {
    let server = Server::start().await;
    for path in ["/", "/try", "/embed/a", "/milepost.js", "/index.css"] {
        let answer = server.get(&format!("{path}?v=2&job=a&colour=1")).await;
        assert_eq!((answer.status, &answer.body), (200, &server.get(path).await.body), "{path}");
    }
    server.stop().await;
}
