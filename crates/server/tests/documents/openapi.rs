//! `/openapi.json` says what the server does: it is whole, and real answers are as it describes them.

use std::collections::BTreeSet;

use crate::support::{Response, Server};
use jsonschema::Validator;
use milepost_server::Config;
use serde_json::{Map, Value, json};

/// Sections 5 to 12 of `spec/README.md`, and the two documents.
const OPERATIONS: [&str; 24] = [
    "DELETE /jobs/{job_id}",
    "GET /asyncapi.yaml",
    "GET /health",
    "GET /jobs",
    "GET /jobs/{job_id}",
    "GET /jobs/{job_id}/badge.json",
    "GET /jobs/{job_id}/badge.svg",
    "GET /jobs/{job_id}/events",
    "GET /jobs/{job_id}/history",
    "GET /jobs/{job_id}/log",
    "GET /jobs/{job_id}/requests",
    "GET /jobs/{job_id}/status",
    "GET /livez",
    "GET /metrics",
    "GET /openapi.json",
    "GET /readyz",
    "GET /watchers",
    "GET /ws",
    "GET /ws/jobs/{job_id}",
    "GET /ws/stats",
    "POST /jobs/{job_id}",
    "POST /jobs/{job_id}/log",
    "POST /jobs/{job_id}/requests",
    "POST /updates",
];

/// The header of a page that may not report.
const FOREIGN: &str = "origin: https://other.example\r\n";

pub(crate) struct Document(pub(crate) Value);

pub(crate) struct Operation<'d> {
    /// As in [`OPERATIONS`].
    pub(crate) name: String,
    pub(crate) path: &'d str,
    pub(crate) described: &'d Value,
}

impl Document {
    pub(crate) async fn of(server: &Server) -> Self {
        let response = server.get("/openapi.json").await;
        assert_eq!(response.header("content-type"), Some("application/json"));
        Self(response.json())
    }

    pub(crate) fn operations(&self) -> Vec<Operation<'_>> {
        let operations = object(&self.0["paths"]).iter().flat_map(|(path, item)| {
            object(item).iter().map(move |(method, described)| {
                let name = format!("{} {path}", method.to_uppercase());
                Operation { name, path, described }
            })
        });
        operations.collect()
    }

    fn validator(&self, schema: &Value) -> Validator {
        let mut root = schema.clone();
        root["components"] = self.0["components"].clone();
        jsonschema::options().should_validate_formats(true).build(&root).expect("a schema")
    }

    /// The value is as the schema says, and has nothing that a closed schema does not name.
    fn check(&self, schema: &Value, value: &Value, what: &str) {
        let errors = self.validator(schema);
        let errors: Vec<_> = errors.iter_errors(value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{what}: {errors:?} in {value:#}");
        let reference = schema["$ref"].as_str().unwrap_or_default();
        if let Some(pointer) = reference.strip_prefix('#')
            && !reference.ends_with("/State")
            && !reference.ends_with("/Update")
        {
            let named = &self.0.pointer(pointer).expect("a schema")["properties"];
            for key in value.as_object().into_iter().flat_map(Map::keys) {
                assert!(named.get(key).is_some(), "{what}: {key} is not described");
            }
        }
    }

    fn check_named(&self, schema: &str, value: &Value, what: &str) {
        self.check(&json!({"$ref": format!("#/components/schemas/{schema}")}), value, what);
    }
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("an object: {value}"))
}

/// Every value in the document, with its JSON pointer.
fn walk<'v>(value: &'v Value, at: &str, visit: &mut impl FnMut(&str, &'v Value)) {
    visit(at, value);
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            walk(value, &format!("{at}/{key}"), visit);
        }),
        Value::Array(list) => list.iter().enumerate().for_each(|(index, value)| {
            walk(value, &format!("{at}/{index}"), visit);
        }),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_whole() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    assert!(document.0["openapi"].as_str().unwrap().starts_with("3.1."));
    assert!(document.0["info"]["version"].is_string());

    let mut references = 0;
    walk(&document.0, "", &mut |at, value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            references += 1;
            let target = reference.strip_prefix('#').and_then(|at| document.0.pointer(at));
            assert!(target.is_some(), "{reference} at {at}");
        }
    });
    assert!(references > 20, "{references}");

    let tags: Vec<_> =
        document.0["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    let mut ids = BTreeSet::new();
    for Operation { name, path, described } in document.operations() {
        assert!(ids.insert(described["operationId"].as_str().unwrap()), "{name}: an id twice");
        assert!(!described["summary"].as_str().unwrap().is_empty(), "{name}");
        assert!(tags.contains(&&described["tags"][0]), "{name}");
        assert!(!object(&described["responses"]).is_empty(), "{name}");
        for (status, response) in object(&described["responses"]) {
            assert!(!response["description"].as_str().unwrap().is_empty(), "{name} {status}");
        }
        let none = Vec::new();
        let parameters = described["parameters"].as_array().unwrap_or(&none);
        let of_path: Vec<_> = parameters.iter().filter(|p| p["in"] == "path").collect();
        assert_eq!(of_path.len(), path.matches('{').count(), "{name}");
        for parameter in of_path {
            assert_eq!(parameter["required"], true, "{name}");
            assert!(path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap())));
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    let described: Vec<_> = document.operations().into_iter().map(|o| o.name).collect();
    let mut sorted = described.clone();
    sorted.sort();
    assert_eq!(sorted, OPERATIONS);

    // No route is added without an annotation; pages are in pages.rs.
    assert!(!include_str!("../../src/router.rs").contains(".route("));

    // A mode that is refused, so that events come to an end.
    for path in document.0["paths"].as_object().unwrap().keys() {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let asked = format!("{}?mode=none", path.replace("{job_id}", "a1"));
            let answer = server.request(method, &asked, "", "").await;
            let allowed = described.contains(&format!("{method} {path}"));
            assert_eq!(answer.status != 405, allowed, "{method} {path}: {answer:?}");
            let found = answer.status != 404 || answer.problem() != "not-found";
            assert!(found, "{method} {path}: {answer:?}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn every_problem_is_named() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    let of_type = &document.0["components"]["schemas"]["Problem"]["properties"]["type"];
    let fixture: Value =
        serde_json::from_str(include_str!("../../../../spec/fixtures/problems.json")).unwrap();
    for problem in fixture["problems"].as_array().unwrap() {
        let name = problem["name"].as_str().unwrap();
        let row = format!(
            "| `{name}` | {} | {} |",
            problem["status"],
            problem["title"].as_str().unwrap()
        );
        assert!(of_type["description"].as_str().unwrap().contains(&row), "{row}");
        assert!(of_type["examples"].as_array().unwrap().contains(&problem["type"]), "{name}");
    }
    for case in fixture["documents"].as_array().unwrap() {
        document.check_named("Problem", &case["document"], "a fixture");
    }
    server.stop().await;
}

#[tokio::test]
async fn examples_are_as_their_schemas_say() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    let mut checked = 0;
    walk(&document.0, "", &mut |at, value| {
        if value.get("schema").is_some() {
            let named = value.get("examples").and_then(Value::as_object).into_iter().flatten();
            let examples = named.map(|(_, example)| &example["value"]).chain(value.get("example"));
            for example in examples {
                document.check(&value["schema"], example, at);
                checked += 1;
            }
        }
    });
    for (name, schema) in object(&document.0["components"]["schemas"]) {
        for example in schema["examples"].as_array().into_iter().flatten() {
            document.check_named(name, example, name);
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked}");
    server.stop().await;
}

#[tokio::test]
async fn the_fixtures_updates_and_states_are_as_described() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    let fixture: Value =
        serde_json::from_str(include_str!("../../../../spec/fixtures/update.json")).unwrap();
    let accepted = fixture["accepted"].as_array().unwrap();
    let (mut updates, mut states) = (0, 0);
    for case in accepted {
        let update = case["update"].as_object().map(|_| case["update"].clone());
        let text = case["update_text"].as_str().and_then(|text| serde_json::from_str(text).ok());
        if let Some(update) = update.or(text) {
            document.check_named("Update", &update, case["name"].as_str().unwrap());
            updates += 1;
        }
        let state = case["state"].as_object().map(|_| case["state"].clone());
        let text = case["state_text"].as_str().and_then(|text| serde_json::from_str(text).ok());
        // A number that no float holds passes through the server, but is none to this test.
        if let Some(state) = state.or(text) {
            document.check_named("State", &state, case["name"].as_str().unwrap());
            states += 1;
        }
    }
    assert!(updates > 10 && states > 10, "{updates} and {states} of {}", accepted.len());

    let wrong = [
        json!([]),
        json!({"progress": "0.5"}),
        json!({"status": "done"}),
        json!({"stage": 1}),
        json!({"attempt": 0}),
        json!({"ttl": 2_592_001}),
        json!({"job_id": "a/b"}),
    ];
    let update = document.validator(&json!({"$ref": "#/components/schemas/Update"}));
    for wrong in wrong {
        assert!(!update.is_valid(&wrong), "{wrong}");
        let answer = server.report("a1", &wrong.to_string()).await;
        assert!([400, 422].contains(&answer.status), "{wrong}: {answer:?}");
    }
    server.stop().await;
}

/// Asks a real server, and holds each answer against its description.
struct Asker<'s> {
    server: &'s Server,
    document: Document,
    seen: BTreeSet<String>,
}

impl Asker<'_> {
    /// `operation` as in [`OPERATIONS`]; `path` as it is asked for.
    async fn ask(&mut self, operation: &str, path: &str, headers: &str, body: &str) -> Response {
        let method = operation.split(' ').next().unwrap();
        let answer = self.server.request(method, path, headers, body).await;
        self.compare(operation, &answer);
        answer
    }

    fn compare(&mut self, operation: &str, answer: &Response) {
        let operations = self.document.operations();
        let described = operations.iter().find(|o| o.name == operation).unwrap().described;
        let status = answer.status.to_string();
        let response = &described["responses"][&status];
        assert!(response.is_object(), "{operation}: {status} is not described: {answer:?}");
        for header in response["headers"].as_object().into_iter().flat_map(Map::keys) {
            assert!(answer.header(header).is_some(), "{operation}: no {header} in {answer:?}");
        }
        match answer.header("content-type") {
            None => assert!(response.get("content").is_none(), "{operation}: {answer:?}"),
            Some(content_type) => {
                let schema = &response["content"][content_type];
                assert!(schema.is_object(), "{operation}: {content_type} is not described");
                let (schema, what) = (&schema["schema"], format!("{operation} {status}"));
                if content_type.ends_with("json")
                    && schema.is_object()
                    && schema["type"] != "string"
                {
                    self.document.check(schema, &answer.json(), &what);
                }
            }
        }
        self.seen.insert(format!("{operation} {status}"));
    }
}

/// Of a job that answers requests, and of those that do not. `large` is more than a request may be.
async fn requests_are_as_described(asker: &mut Asker<'_>, large: &str) {
    let (request, pending) = ("POST /jobs/{job_id}/requests", "GET /jobs/{job_id}/requests");
    asker.ask("POST /jobs/{job_id}", "/jobs/r1", "", r#"{"cancellable":true}"#).await;
    asker.ask(pending, "/jobs/r1/requests", "", "").await;
    let cancel = r#"{"action":"cancel","by":"me","reason":"why"}"#;
    let large = large.repeat(4);
    for (path, body) in [
        ("/jobs/r1/requests", cancel),
        ("/jobs/r1/requests", cancel),
        ("/jobs/r1/requests", r#"{"action":"pause"}"#),
        ("/jobs/r1/requests", r#"{"action":"stop"}"#),
        ("/jobs/r1/requests", large.as_str()),
        ("/jobs/b1/requests", cancel),
        ("/jobs/nobody/requests", cancel),
    ] {
        asker.ask(request, path, "", body).await;
    }
    asker.ask(request, "/jobs/r1/requests", FOREIGN, cancel).await;
    for path in ["/jobs/r1/requests", "/jobs/r1/requests?wait=61", "/jobs/nobody/requests"] {
        asker.ask(pending, path, "", "").await;
    }
    let state = asker.ask("GET /jobs/{job_id}", "/jobs/r1", "", "").await.json();
    asker.document.check_named("State", &state, "a state with a request");
}

async fn badges_are_as_described(asker: &mut Asker<'_>, seen: &str) {
    for badge in ["badge.json", "badge.svg"] {
        let operation = format!("GET /jobs/{{job_id}}/{badge}");
        for (job, headers) in [("a1", ""), ("a1", seen), ("nobody", ""), ("a%20b", "")] {
            asker.ask(&operation, &format!("/jobs/{job}/{badge}"), headers, "").await;
        }
    }
}

async fn handshakes_are_as_described(asker: &mut Asker<'_>) {
    let handshake = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n";
    for (operation, path) in [("GET /ws", "/ws"), ("GET /ws/jobs/{job_id}", "/ws/jobs/a1")] {
        asker.ask(operation, path, "", "").await;
        let bad_key = format!("{handshake}sec-websocket-key: x\r\n");
        asker.ask(operation, path, &bad_key, "").await;
        let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        asker.ask(operation, path, &format!("{handshake}{key}{FOREIGN}"), "").await;
        asker.server.watch(path).await;
        asker.seen.insert(format!("{operation} 101"));
    }
}

async fn the_operators_routes_are_as_described(asker: &mut Asker<'_>) {
    for path in
        ["/health", "/livez", "/readyz", "/ws/stats", "/metrics", "/openapi.json", "/asyncapi.yaml"]
    {
        asker.ask(&format!("GET {path}"), path, "", "").await;
    }
    for path in ["/openapi.json", "/asyncapi.yaml"] {
        asker.ask(&format!("GET {path}"), &format!("{path}?x=1"), "", "").await;
    }
}

async fn logs_are_as_described(asker: &mut Asker<'_>) {
    let (append, read) = ("POST /jobs/{job_id}/log", "GET /jobs/{job_id}/log");
    asker.ask("POST /jobs/{job_id}", "/jobs/l1", "", "{}").await;
    asker.ask(append, "/jobs/l1/log", "", "").await;
    asker.ask(read, "/jobs/l1/log", "", "").await;
    let json = "content-type: application/json\r\n";
    let line = r#"{"text":"x","stream":"stdout","at":"2024-05-06T07:08:09Z"}"#;
    let (long, large) = ("x".repeat(5_000), "x".repeat(300_000));
    for (path, headers, body) in [
        ("/jobs/l1/log", json, line),
        ("/jobs/l1/log", "", long.as_str()),
        ("/jobs/l1/log", json, "{"),
        ("/jobs/l1/log", "", large.as_str()),
        ("/jobs/l1/log", FOREIGN, ""),
        ("/jobs/nobody/log", "", "x"),
    ] {
        asker.ask(append, path, headers, body).await;
    }
    for query in ["", "?since=1-1", "?since=x"] {
        asker.ask(read, &format!("/jobs/l1/log{query}"), "", "").await;
    }
    asker.ask(read, "/jobs/nobody/log", "", "").await;
}

/// `position`: where b1 has ended.
async fn events_are_as_described(asker: &mut Asker<'_>, position: &str) {
    let events = "GET /jobs/{job_id}/events";
    for path in ["/jobs/b1/events", "/jobs/b1/events?mode=x", "/jobs/a%20b/events?max_rate=1"] {
        asker.ask(events, path, "", "").await;
    }
    asker.ask(events, "/jobs/b1/events", &format!("last-event-id: {position}\r\n"), "").await;
}

#[tokio::test]
async fn real_answers_are_as_described() {
    let config = Config { max_update_bytes: 1_024, max_batch_bytes: 4_096, ..Config::default() };
    let server = Server::with(config).await;
    let (document, seen) = (Document::of(&server).await, BTreeSet::new());
    let mut asker = Asker { server: &server, document, seen };
    let large = format!(r#"{{"message":"{}"}}"#, "m".repeat(2_000));
    let one = "POST /jobs/{job_id}";
    for update in [
        r#"{"progress":0.5,"stage":"rendering","metadata":{"frame":1},"mine":1.0,"ttl":60}"#,
        r#"{"progress":null,"message":"m"}"#,
        r#"{"status":"failed","error":"e"}"#,
        r#"{"status":"failed","error":"e"}"#,
        r#"{"progress":1}"#,
        r#"{"attempt":2,"status":"queued"}"#,
        r#"{"attempt":1}"#,
        r#"{"progress":"x"}"#,
        "{",
        &large,
    ] {
        asker.ask(one, "/jobs/a1", "", update).await;
    }
    let repeated = asker.ask(one, "/jobs/b1", "", r#"{"status":"completed","result":[1]}"#).await;
    let again = asker.ask(one, "/jobs/b1", "", r#"{"status":"completed","result":[1]}"#).await;
    assert_eq!((&again.json()["repeated"], repeated.json().get("repeated")), (&true.into(), None));
    asker.ask(one, "/jobs/a%2Fb", "", "{}").await;

    let state = "GET /jobs/{job_id}";
    let answer = asker.ask(state, "/jobs/a1", "", "").await;
    let seen = format!("if-none-match: {}\r\n", answer.header("etag").unwrap());
    for (path, headers) in [
        ("/jobs/a1", seen.as_str()),
        ("/jobs/a1?wait=0.01", seen.as_str()),
        ("/jobs/a1?wait=61", ""),
        ("/jobs/nobody", ""),
    ] {
        asker.ask(state, path, headers, "").await;
    }
    for path in ["/jobs/a1/status", "/jobs/nobody/status", "/jobs/a%20b/status"] {
        asker.ask("GET /jobs/{job_id}/status", path, "", "").await;
    }
    for path in ["/jobs/a1/history", "/jobs/nobody/history", "/jobs/a%20b/history"] {
        asker.ask("GET /jobs/{job_id}/history", path, "", "").await;
    }
    badges_are_as_described(&mut asker, &seen).await;
    for path in ["/watchers?job_id=a1,b1", "/watchers?job_id=a%20b"] {
        asker.ask("GET /watchers", path, "", "").await;
    }
    for path in ["/jobs", "/jobs?limit=1", "/jobs?status=queued,failed&prefix=a", "/jobs?limit=0"] {
        asker.ask("GET /jobs", path, "", "").await;
    }
    events_are_as_described(&mut asker, repeated.json()["position"].as_str().unwrap()).await;

    let batch = "{\"job_id\":\"c1\"}\n\n{\"job_id\":\"b1\"}\n{}\n[]\n";
    let answer = asker.ask("POST /updates", "/updates", "", batch).await;
    let lines: Vec<Value> =
        answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    asker.document.check_named("Accepted", &lines[0], "a line");
    lines[1..].iter().for_each(|line| asker.document.check_named("Problem", line, "a line"));
    asker.ask("POST /updates", "/updates", "", &"x".repeat(5_000)).await;

    the_operators_routes_are_as_described(&mut asker).await;
    handshakes_are_as_described(&mut asker).await;
    for path in ["/jobs/a1", "/jobs/a1", "/jobs/a%20b"] {
        asker.ask("DELETE /jobs/{job_id}", path, "", "").await;
    }

    requests_are_as_described(&mut asker, &large).await;
    logs_are_as_described(&mut asker).await;

    asker.ask(one, "/jobs/a1", FOREIGN, "{}").await;
    asker.ask("POST /updates", "/updates", FOREIGN, "").await;
    asker.ask("DELETE /jobs/{job_id}", "/jobs/a1", FOREIGN, "").await;

    // What is described was seen, but for what takes a broken connection, a broken broker, or a client
    // that does too much.
    let mut unseen = BTreeSet::new();
    for Operation { name, described, .. } in asker.document.operations() {
        for status in object(&described["responses"]).keys() {
            let described = format!("{name} {status}");
            if !asker.seen.contains(&described) && status != "503" {
                unseen.insert(described);
            }
        }
    }
    let expected = [
        "DELETE /jobs/{job_id} 429",
        "GET /jobs/{job_id}/events 429",
        "GET /jobs/{job_id}/log 429",
        "GET /ws 429",
        "GET /ws/jobs/{job_id} 429",
        "POST /jobs/{job_id} 408",
        "POST /jobs/{job_id} 429",
        "POST /jobs/{job_id}/log 408",
        "POST /jobs/{job_id}/log 429",
        "POST /jobs/{job_id}/requests 408",
        "POST /jobs/{job_id}/requests 429",
        "POST /updates 400",
        "POST /updates 408",
        "POST /updates 429",
    ];
    assert_eq!(unseen, expected.map(str::to_owned).into());
    server.stop().await;
}
