//! The OpenAPI schemas of what no derive can describe: texts with a form of their own, and states and updates, which are
//! passed on as text. Only with the feature `openapi`.

use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, Object, ObjectBuilder, Ref, Schema, SchemaType, Type,
};
use utoipa::{PartialSchema, ToSchema};

use crate::{
    Attribute, Children, Health, JobId, MAX_STAGE_BYTES, MAX_TTL_SECONDS, Position, Requested,
    State, Status, Update,
};

type Schemas = Vec<(String, RefOr<Schema>)>;

impl PartialSchema for JobId {
    fn schema() -> RefOr<Schema> {
        of_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(Self::MAX_LEN))
            .pattern(Some(r"^(?!\.{1,2}$)[A-Za-z0-9._~:@-]+$"))
            .description(Some(
                "Chosen by the worker: 1 to 128 characters out of `A–Z a–z 0–9 - . _ ~ : @`, but not `.` or `..`.",
            ))
            .examples(["job_001", "user:42:render-7"])
            .into()
    }
}

impl ToSchema for JobId {}

impl PartialSchema for Position {
    fn schema() -> RefOr<Schema> {
        of_type(Type::String)
            .pattern(Some("^[0-9a-f]{1,16}-[1-9][0-9]*$"))
            .description(Some(
                "Where in a job's life a state stands. Opaque: clients send back the latest one that they saw.",
            ))
            .examples(["8f3a6c01d2e4b597-42"])
            .into()
    }
}

impl ToSchema for Position {}

impl PartialSchema for Update {
    fn schema() -> RefOr<Schema> {
        let mut fields = of_type(Type::Object)
            .description(Some(
                "What a worker reports: it describes the present, not a change. Every field is optional. `null` counts as absent, \
                 except in `progress`, `metadata` and `result`. Any other field passes through unchanged. At most 65,536 \
                 bytes (configurable).",
            ))
            .examples(update_examples())
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .property("job_id", described::<JobId>("The job. If the URL names a job as well, both must be the same."))
            .property("status", or_null::<Status>("If absent, `processing`."))
            .property(
                "stage",
                nullable(Type::String)
                    .max_length(Some(MAX_STAGE_BYTES))
                    .description(Some("Any short text: at most 256 bytes.")),
            )
            .property("progress", nullable(Type::Number).description(Some(
                "0 to 1; a number outside is clamped. `null`: the total is unknown.",
            )))
            .property("message", nullable(Type::String).description(Some("For people.")))
            .property("timestamp", nullable(Type::String).description(Some(
                "The worker's clock, RFC 3339; without a zone, it is UTC. It passes through, and never orders updates.",
            )).examples(["2024-01-01T00:00:00Z", "2024-01-01T00:00:00.123456"]))
            .property("metadata", any("The worker's own."))
            .property("result", any("Of a completed job."))
            .property("error", nullable(Type::String).description(Some("Of a failed job.")))
            .property("attempt", attempt(SchemaType::from_iter([Type::Integer, Type::Null])).description(Some(
                "If absent, the latest attempt. A number one higher than the latest opens a new attempt.",
            )))
            .property("ttl", ttl(SchemaType::from_iter([Type::Integer, Type::Null])))
            .property("current", any("How much is done, in `unit`s: a number. Without `progress`, the progress is `current / total`."))
            .property("total", any("How much there is to do, in `unit`s: a number."))
            .property("stage_progress", any(
                "How far the stage is: a number from 0 to 1. With declared `stages`, the progress follows from it.",
            ))
            .property("eta", any(
                "When the worker expects to complete: RFC 3339. Without it, the server estimates that from the progress.",
            ))
            .property("eta_high", any("When the worker will almost certainly have completed: RFC 3339."))
            .property("unless_known", any("`true`: the update counts only if nobody has reported the attempt yet. It is not part of the state."))
            .property("paused", any("`true` while the worker has paused the job: this time does not count for the estimate."));
        for attribute in Attribute::ALL {
            fields = fields.property(attribute.as_str(), of_attribute(attribute));
        }
        fields.into()
    }
}

impl ToSchema for Update {
    fn schemas(schemas: &mut Schemas) {
        add::<JobId>(schemas);
        add::<Status>(schemas);
    }
}

impl PartialSchema for State {
    fn schema() -> RefOr<Schema> {
        let mut fields = of_type(Type::Object)
            .description(Some(
                "A job as its updates so far describe it. Other fields that the worker reported pass through unchanged.",
            ))
            .examples(state_examples())
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .property("job_id", reference::<JobId>())
            .property("status", reference::<Status>())
            .property("stage", of_type(Type::String).max_length(Some(MAX_STAGE_BYTES)))
            .property("progress", nullable(Type::Number).minimum(Some(0)).maximum(Some(1)).description(Some(
                "If `null` or absent, the total is unknown.",
            )))
            .property("message", text("For people."))
            .property("timestamp", text(
                "The worker's clock, RFC 3339; without a zone, it is UTC. The server's clock if the worker sent none.",
            ))
            .property("metadata", any("The worker's own."))
            .property("result", any("Of a completed job."))
            .property("error", text("Of a failed job."))
            .property("ttl", ttl(SchemaType::new(Type::Integer)))
            .property("current", any("How much is done, in `unit`s."))
            .property("total", any("How much there is to do, in `unit`s."))
            .property("stage_progress", any("How far the stage is: from 0 to 1."));
        for attribute in Attribute::ALL {
            fields = fields.property(attribute.as_str(), of_attribute(attribute));
        }
        fields = fields
            .property("stage_weights", of_type(Type::Object).description(Some(
                Attribute::StageWeights.description(),
            )))
            .property("started_at", moment("When the attempt began. Absent while it is queued."))
            .property("paused_seconds", of_type(Type::Number).minimum(Some(0)).description(Some(
                "For how long the attempt was paused, up to the end of its latest pause. Absent if it never was.",
            )))
            .property("paused_at", moment("Since when the attempt is paused. Absent while it is not."))
            .property("last_seen_at", moment("When the worker reported last. Absent after the end."))
            .property("progressed_at", moment(
                "When the status, stage, progress or `current` changed last. Absent after the end.",
            ))
            .property("ended_at", moment("When the attempt ended."))
            .property("eta", any(
                "When the attempt is as likely to have completed as not: RFC 3339. Absent while too little is known, while the \
                 attempt is queued or paused, and after the end.",
            ))
            .property("eta_high", any("When it almost certainly will have completed: RFC 3339."))
            .property("eta_basis", of_type(Type::String).enum_values(Some(["worker", "rate", "history", "both"])).description(Some(
                "What `eta` is from: the worker reported it, or the server computed it from the rate of the progress, from how long earlier \
                 attempts of the same name took (`history`), or from both.",
            )))
            .property("health", reference::<Health>())
            .property("requested", reference::<Requested<'_>>())
            .property("children", reference::<Children>())
            .property("attempt", attempt(SchemaType::new(Type::Integer)))
            .property("position", reference::<Position>());
        for required in ["job_id", "status", "stage", "timestamp", "attempt", "position"] {
            fields = fields.required(required);
        }
        fields.into()
    }
}

impl ToSchema for State {
    fn schemas(schemas: &mut Schemas) {
        add::<JobId>(schemas);
        add::<Status>(schemas);
        add::<Health>(schemas);
        add::<Requested<'_>>(schemas);
        add::<Children>(schemas);
        add::<Position>(schemas);
    }
}

/// A value of another type is the worker's own and passes through, so the schema only describes.
fn of_attribute(attribute: Attribute) -> ObjectBuilder {
    const FIRST: &str = "An attribute, like the following fields: it stays until the attempt ends or an update sets it again, \
                         and `null` clears it. A value of another type is the worker's own, and passes through.";
    let description = attribute.description();
    if attribute == Attribute::ALL[0] {
        any(&format!("{FIRST} {description}"))
    } else {
        any(description)
    }
}

fn of_type(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

fn nullable(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::from_iter([kind, Type::Null]))
}

fn any(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).description(Some(description))
}

fn text(description: &str) -> ObjectBuilder {
    of_type(Type::String).description(Some(description))
}

fn moment(description: &str) -> ObjectBuilder {
    let description =
        format!("{description} By the server's clock: RFC 3339 in UTC with milliseconds.");
    of_type(Type::String).description(Some(description)).examples(["2024-01-01T00:00:00.000Z"])
}

fn attempt(kind: SchemaType) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind).minimum(Some(1)).maximum(Some(u32::MAX))
}

fn ttl(kind: SchemaType) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(kind)
        .minimum(Some(1))
        .maximum(Some(MAX_TTL_SECONDS))
        .description(Some("Seconds that the job is kept after this and each later update."))
}

fn reference<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

fn described<T: ToSchema>(description: &str) -> Ref {
    let mut reference = reference::<T>();
    reference.description = description.into();
    reference
}

fn or_null<T: ToSchema>(description: &str) -> Schema {
    utoipa::openapi::schema::OneOfBuilder::new()
        .item(Object::with_type(Type::Null))
        .item(reference::<T>())
        .description(Some(description))
        .build()
        .into()
}

fn add<T: ToSchema>(schemas: &mut Schemas) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}

fn update_examples() -> [Value; 3] {
    [
        json!({
            "stage": "rendering", "progress": 0.75, "message": "Rendering frame 1500/2000",
            "timestamp": "2024-01-01T00:00:00Z", "metadata": {"current_frame": 1500, "total_frames": 2000}
        }),
        json!({
            "status": "completed", "message": "Job completed",
            "result": {"video_url": "https://cdn.example.com/video.mp4"}
        }),
        json!({"status": "failed", "message": "Error: Out of memory", "error": "Out of memory"}),
    ]
}

fn state_examples() -> [Value; 2] {
    [
        json!({
            "job_id": "job_12345", "status": "processing", "stage": "rendering", "progress": 0.75,
            "message": "Rendering frame 1500/2000", "timestamp": "2024-01-01T00:00:00Z",
            "metadata": {"current_frame": 1500, "total_frames": 2000}, "name": "render",
            "started_at": "2024-01-01T00:00:00.000Z", "last_seen_at": "2024-01-01T00:00:07.500Z",
            "progressed_at": "2024-01-01T00:00:07.500Z", "attempt": 1, "position": "8f3a6c01d2e4b597-42"
        }),
        json!({
            "job_id": "job_12345", "status": "completed", "message": "Job completed",
            "result": {"video_url": "https://cdn.example.com/video.mp4"}, "stage": "complete", "progress": 1.0,
            "timestamp": "2024-01-01T00:00:09.000000Z", "started_at": "2024-01-01T00:00:00.000Z",
            "ended_at": "2024-01-01T00:00:09.000Z", "attempt": 1, "position": "8f3a6c01d2e4b597-43"
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::SERVER_FIELDS;
    use crate::{Action, Epoch, Fold, Origin, Request, Timestamp, fold};

    fn properties<T: PartialSchema>() -> Vec<String> {
        let schema = serde_json::to_value(T::schema()).unwrap();
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn fields_that_only_the_server_sets_are_of_states_alone() {
        let (of_state, of_update) = (properties::<State>(), properties::<Update>());
        let named = |name: &&String| SERVER_FIELDS.contains(&name.as_str());
        assert_eq!(of_update.iter().find(named), None);
        let only: Vec<_> = of_state.iter().filter(|name| !of_update.contains(name)).collect();
        assert_eq!(only.iter().find(|name| !SERVER_FIELDS.contains(&name.as_str())), None);
    }

    #[test]
    fn whatever_the_fold_adds_is_described() {
        let described = properties::<State>();
        let job = JobId::parse("a").unwrap();
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let mut state = None;
        for update in [
            r#"{"cancellable":true,"heartbeat":1}"#,
            r#"{"current":1,"total":2}"#,
            r#"{"status":"failed","error":"e"}"#,
        ] {
            let update = Update::parse(Some(&job), update.as_bytes()).unwrap();
            let Fold::New(mut next) =
                fold(state.as_ref(), &update, Origin::Report, Epoch(1), now).unwrap()
            else {
                panic!("repeated")
            };
            let cancel = Request { action: Action::Cancel, by: None, reason: None };
            if let Ok(Fold::New(requested)) = crate::request(Some(&next), &cancel, Epoch(1), now) {
                next = requested;
            }
            let fields: serde_json::Map<String, Value> = serde_json::from_str(next.json()).unwrap();
            for name in fields.keys() {
                assert!(described.contains(name), "{name}");
            }
            state = Some(next);
        }
    }
}
