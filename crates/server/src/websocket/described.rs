//! `spec/asyncapi.yaml` describes exactly the messages that the server sends and reads, field by field.

use std::collections::{BTreeMap, BTreeSet};

use milepost_protocol::{Children, CloseCode, Reconnect, Requested, State};
use serde_json::{Value, json};
use utoipa::{PartialSchema, ToSchema};

use super::command::{AuthFields, SubscribeFields, UnsubscribeFields};
use super::message::Message;
use crate::watching::log_page::{JobLog, Line, LogCounts};

fn document() -> Value {
    yaml_serde::from_str(include_str!("../../../../spec/asyncapi.yaml")).unwrap()
}

/// A message's fields without `type`, those among them that are always there, and the JSON types of each.
#[derive(Debug, PartialEq)]
struct Described {
    kind: String,
    fields: BTreeSet<(String, String)>,
    required: BTreeSet<String>,
}

impl Described {
    /// Of a schema, whose references lead into the document.
    fn of(schema: &Value, document: &Value) -> Self {
        let properties = schema["properties"].as_object().unwrap();
        let kind = &properties.get("type").unwrap_or(&Value::Null);
        let kind = kind["const"].as_str().or_else(|| kind["enum"][0].as_str()).unwrap_or_default();
        let named = properties.iter().filter(|(name, _)| *name != "type");
        let required = schema["required"].as_array().into_iter().flatten();
        let required = required.map(|name| name.as_str().unwrap().to_owned());
        Self {
            kind: kind.to_owned(),
            fields: named.map(|(name, field)| (name.clone(), json_type(field, document))).collect(),
            required: required.filter(|name| name != "type").collect(),
        }
    }

    fn with_kind(self, kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..self }
    }
}

/// The JSON types of a field, in alphabetical order. Whether an absent value may be `null` is not compared.
fn json_type(field: &Value, document: &Value) -> String {
    if let Some(reference) = field["$ref"].as_str() {
        // What utoipa refers to is a text, such as a job id; it has no schema in this document.
        let target = document.pointer(reference.trim_start_matches('#'));
        return target.map_or_else(|| "string".to_owned(), |field| json_type(field, document));
    }
    let mut either = field["oneOf"].as_array().into_iter().flatten();
    if let Some(present) = either.find(|field| field["type"] != "null") {
        return json_type(present, document);
    }
    let types = match &field["type"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(several) => {
            several.iter().map(|one| one.as_str().unwrap().to_owned()).collect()
        }
        _ if field["const"].is_string() => vec!["string".to_owned()],
        _ => Vec::new(),
    };
    let types: BTreeSet<_> = types.into_iter().filter(|name| name != "null").collect();
    types.into_iter().collect::<Vec<_>>().join(" ").replace("integer", "number")
}

fn described(document: &Value, message: &str) -> Described {
    Described::of(&document["components"]["messages"][message]["payload"], document)
}

/// What the server sends: by the names of messages in the document.
fn sent() -> Vec<(String, Described)> {
    let schema = serde_json::to_value(Message::schema()).unwrap();
    let variants = schema["oneOf"].as_array().unwrap().iter();
    let mut sent: Vec<_> = variants
        .map(|variant| {
            let fields = Described::of(variant, &json!({}));
            (fields.kind.clone(), fields)
        })
        .collect();
    let schemas = json!({"components": {"schemas": {"LogCounts": LogCounts::schema()}}});
    let part = Described::of(&serde_json::to_value(JobLog::schema()).unwrap(), &schemas);
    sent.push(("log".to_owned(), part.with_kind("log")));
    sent
}

/// What the server reads.
fn read() -> Vec<(&'static str, Described)> {
    fn fields<T: PartialSchema>(kind: &str) -> Described {
        Described::of(&serde_json::to_value(T::schema()).unwrap(), &json!({})).with_kind(kind)
    }
    let ping = json!({"properties": {"type": {"const": "ping"}}, "required": ["type"]});
    vec![
        ("clientPing", Described::of(&ping, &json!({}))),
        ("auth", fields::<AuthFields>("auth")),
        ("subscribe", fields::<SubscribeFields>("subscribe")),
        ("unsubscribe", fields::<UnsubscribeFields>("unsubscribe")),
    ]
}

#[test]
fn messages_have_the_described_fields() {
    let document = document();
    for (name, fields) in sent() {
        assert_eq!(described(&document, &name), fields, "{name}");
    }
    for (name, fields) in read() {
        assert_eq!(described(&document, name), fields, "{name}");
    }
    let messages = document["components"]["messages"].as_object().unwrap().keys().cloned();
    let known = sent().into_iter().map(|(name, _)| name);
    let known = known.chain(read().into_iter().map(|(name, _)| name.to_owned()));
    let known: BTreeSet<_> = known.chain(["state".to_owned()]).collect();
    assert_eq!(messages.collect::<BTreeSet<_>>(), known);
}

/// The type's schema, and those that it refers to, as a document.
fn schemas<T: ToSchema>() -> (Value, Value) {
    let mut schemas = Vec::new();
    T::schemas(&mut schemas);
    let schemas: BTreeMap<_, _> = schemas.into_iter().collect();
    (serde_json::to_value(T::schema()).unwrap(), json!({"components": {"schemas": schemas}}))
}

#[test]
fn states_have_the_described_fields() {
    fn check<T: ToSchema>(described: &Value, document: &Value) {
        let (schema, schemas) = schemas::<T>();
        assert_eq!(Described::of(described, document), Described::of(&schema, &schemas));
    }
    let document = document();
    let state = &document["components"]["schemas"]["State"];
    check::<State>(state, &document);
    check::<Requested<'_>>(&state["properties"]["requested"], &document);
    check::<Children>(&state["properties"]["children"], &document);
    let log = &document["components"]["messages"]["log"]["payload"]["properties"];
    check::<Line<'_>>(&log["lines"]["items"], &document);
    check::<LogCounts>(&log["log"], &document);
}

#[test]
fn messages_go_in_the_described_direction() {
    let document = document();
    let last = |reference: &Value| {
        reference["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    };
    let list = |messages: &Value| -> BTreeSet<String> {
        messages.as_array().into_iter().flatten().map(last).collect()
    };
    let mut from_server = BTreeSet::from(["state".to_owned()]);
    from_server.extend(sent().into_iter().map(|(name, _)| name));
    let from_client: BTreeSet<_> = read().into_iter().map(|(name, _)| name.to_owned()).collect();
    for (channel, value) in document["channels"].as_object().unwrap() {
        let (mut sends, mut reads) = (BTreeSet::new(), BTreeSet::new());
        for operation in document["operations"].as_object().unwrap().values() {
            if last(&operation["channel"]) != *channel {
                continue;
            }
            match operation["action"].as_str() {
                Some("send") => sends.extend(list(&operation["messages"])),
                Some("receive") => {
                    reads.extend(list(&operation["messages"]));
                    sends.extend(list(&operation["reply"]["messages"]));
                }
                other => panic!("{other:?}"),
            }
        }
        let of_channel: BTreeSet<_> = value["messages"].as_object().unwrap().keys().collect();
        assert_eq!(of_channel, sends.iter().chain(&reads).collect(), "{channel}");
        // A socket of one job has no subscriptions.
        let of_many = |name: &&String| {
            channel == "jobs" || !(name.contains("subscribe") || name.as_str() == "log")
        };
        assert_eq!(
            sends.iter().collect::<Vec<_>>(),
            from_server.iter().filter(of_many).collect::<Vec<_>>()
        );
        assert_eq!(
            reads.iter().collect::<Vec<_>>(),
            from_client.iter().filter(of_many).collect::<Vec<_>>()
        );
    }
}

#[test]
fn close_codes_are_those_of_the_protocol() {
    let document = document();
    let text = document["info"]["description"].as_str().unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("| close code ")).skip(2);
    let rows: Vec<Vec<&str>> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let expected: Vec<_> = CloseCode::ALL.iter().map(|code| code.code().to_string()).collect();
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), expected);
    for (row, code) in rows.iter().zip(CloseCode::ALL) {
        assert_eq!(row[1], code.name());
        let reconnect = match Reconnect::for_code(code.code()) {
            Reconnect::No => "no",
            Reconnect::After { .. } => "yes, after 1–5 s",
            Reconnect::AsRequested => "yes, after `retry_ms`",
            Reconnect::Backoff => "yes",
        };
        assert!(row[2].starts_with(reconnect), "{row:?}: {reconnect}");
    }
}
