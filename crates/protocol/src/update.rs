use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::json::{self, Fields, number};
use crate::layout::{Layout, Span};
use crate::stages::MAX_STAGE_BYTES;
use crate::{Attribute, InvalidJobId, JobId, Status};

/// The largest update, in bytes of JSON, unless configured otherwise.
pub const MAX_UPDATE_BYTES: usize = 65_536;
/// The longest time that an update may ask for its job to be kept, in seconds: 30 days.
pub const MAX_TTL_SECONDS: u32 = 2_592_000;

/// What a worker reports about its job: its present, in full. `spec/README.md`, section 2.
///
/// Parsed once, on arrival. It holds the JSON of the fields as watchers will see them, and what the
/// [fold](fn@crate::fold) needs to know about them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of the update that says yes or no"
)]
pub struct Update {
    pub(crate) job: JobId,
    pub(crate) status: Status,
    pub(crate) attempt: Option<NonZeroU32>,
    pub(crate) ttl: Option<u32>,
    pub(crate) has_timestamp: bool,
    /// `"job_id":"…","status":"…"` and the other fields as reported, without the braces.
    pub(crate) fields: String,
    /// Where in `fields` the values stand that the fold needs.
    pub(crate) layout: Layout,
    pub(crate) total: Span,
    pub(crate) stage_progress: Span,
    /// Whether it says that the progress is not known: `null`, which is not among the fields. The fold adds it.
    pub(crate) unknown_progress: bool,
    pub(crate) eta: Span,
    pub(crate) eta_high: Span,
    pub(crate) is_paused: bool,
    pub(crate) unless_known: bool,
    /// The attributes that end with this update: those that are null, or of another type.
    pub(crate) cleared: Vec<Attribute>,
}

/// The fields that only the server sets. In an update they are dropped.
pub const SERVER_FIELDS: [&str; 13] = [
    "position",
    "stage_weights",
    "started_at",
    "paused_seconds",
    "paused_at",
    "last_seen_at",
    "progressed_at",
    "ended_at",
    "eta_basis",
    "health",
    "children",
    "requested",
    "log",
];

/// How deeply an update may be nested, itself included: parsers of other languages give up beyond that, or overflow.
const MAX_DEPTH: usize = 127;

impl Update {
    /// Parses an update of `job`, which the URL or the channel names. Without it, the update has to name its job.
    ///
    /// The caller checks the size, since it knows the limit.
    ///
    /// # Errors
    /// When it is not JSON, not an object, or a field violates section 2. The error names the field.
    pub fn parse(job: Option<&JobId>, json: &[u8]) -> Result<Self, InvalidUpdate> {
        let text = std::str::from_utf8(json).map_err(InvalidUpdate::not_utf8)?;
        let fields = parse_object(text)?;
        if let Some(name) = json::duplicate(&fields) {
            return Err(InvalidUpdate::field(name, "is given twice"));
        }
        if let Some(name) = json::too_deep(&fields, MAX_DEPTH - 1) {
            return Err(InvalidUpdate::field(name, "is nested too deeply"));
        }
        let find = |wanted: &str| {
            fields.0.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value)
        };

        let job = job_of(job, find("job_id"))?;
        let status = match find("status").and_then(present) {
            None => Status::Processing,
            Some(value) => parse_status(&string("status", value)?)?,
        };

        let mut update = Self {
            job,
            status,
            attempt: None,
            ttl: None,
            has_timestamp: false,
            fields: String::with_capacity(text.len() + 96),
            layout: Layout::default(),
            total: Span::default(),
            stage_progress: Span::default(),
            unknown_progress: false,
            eta: Span::default(),
            eta_high: Span::default(),
            is_paused: false,
            unless_known: false,
            cleared: Vec::new(),
        };
        update.fields.push_str("\"job_id\":\"");
        update.fields.push_str(update.job.as_str());
        update.fields.push_str("\",\"status\":\"");
        update.fields.push_str(status.as_str());
        update.fields.push('"');
        let is_on_one_line = !json::has_line_break(text);
        for (name, value) in &fields.0 {
            update.add(Field { name, value, is_on_one_line })?;
        }
        Ok(update)
    }

    fn add(&mut self, field: Field<'_>) -> Result<(), InvalidUpdate> {
        let Field { name, value, .. } = field;
        let name = name.as_ref();
        let is_given = present(value).is_some();
        match name {
            "job_id" | "status" => {}
            "progress" if !is_given => self.unknown_progress = true,
            "progress" => {
                self.layout.progress = match parse_progress(value)? {
                    Some(clamped) => self.push_value(field, clamped),
                    None => self.push(field),
                };
            }
            _ if !is_given && is_known(name) => {}
            "stage" => {
                let stage = string(name, value)?;
                if stage.len() > MAX_STAGE_BYTES {
                    let detail =
                        format!("has {} bytes, at most {MAX_STAGE_BYTES} are allowed", stage.len());
                    return Err(InvalidUpdate::field(name, detail));
                }
                self.layout.stage = self.push(field);
            }
            "timestamp" => {
                string(name, value)?;
                self.has_timestamp = true;
                self.push(field);
            }
            "message" | "error" => {
                string(name, value)?;
                self.push(field);
            }
            // The fold adds the attempt to the state, whether the update names it or not.
            "attempt" => self.attempt = NonZeroU32::new(integer(name, value, u32::MAX)?),
            "ttl" => {
                self.ttl = Some(integer(name, value, MAX_TTL_SECONDS)?);
                self.push(field);
            }
            "current" | "total" | "stage_progress" => {
                let span = self.push(field);
                if number(value.get()).is_some() {
                    match name {
                        "current" => self.layout.current = span,
                        "total" => self.total = span,
                        _ => self.stage_progress = span,
                    }
                }
            }
            "eta" => self.eta = self.push(field),
            "eta_high" => self.eta_high = self.push(field),
            "paused" => {
                self.is_paused = value.get() == "true";
                self.push(field);
            }
            // It is about this report, not about the job.
            "unless_known" if value.get() == "true" => self.unless_known = true,
            _ if SERVER_FIELDS.contains(&name) => {}
            _ => self.add_other(field, is_given),
        }
        Ok(())
    }

    /// Adds an attribute, or a field of the worker's own.
    fn add_other(&mut self, field: Field<'_>, is_given: bool) {
        match Attribute::from_name(field.name) {
            Some(attribute) if attribute.accepts(field.value) => {
                let span = self.push(field);
                self.layout.attributes.push((attribute, span));
            }
            Some(attribute) => {
                self.cleared.push(attribute);
                if is_given {
                    self.push(field);
                }
            }
            None => {
                self.push(field);
            }
        }
    }

    /// Adds a field, and returns where its value stands.
    fn push(&mut self, field: Field<'_>) -> Span {
        if field.is_on_one_line {
            self.push_value(field, field.value.get())
        } else {
            self.push_value(field, &json::on_one_line(field.value.get()))
        }
    }

    fn push_value(&mut self, field: Field<'_>, value: &str) -> Span {
        self.fields.push(',');
        match field.name {
            // As it stood in the JSON, where nothing needed an escape.
            Cow::Borrowed(name) => {
                self.fields.push('"');
                self.fields.push_str(name);
                self.fields.push('"');
            }
            Cow::Owned(name) => json::push_string(&mut self.fields, name),
        }
        self.fields.push(':');
        let start = self.fields.len();
        self.fields.push_str(value);
        Span::new(&(start..self.fields.len()))
    }

    /// The update's job.
    pub fn job(&self) -> &JobId {
        &self.job
    }

    /// The reported status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The attempt, if the update names one.
    pub fn attempt(&self) -> Option<NonZeroU32> {
        self.attempt
    }

    /// For how many seconds to keep the job, if the update says so.
    pub fn ttl(&self) -> Option<u32> {
        self.ttl
    }

    /// `"job_id":"…","status":"…"` and the other fields as watchers will see them, without the braces. This and the
    /// following are for a fold that runs elsewhere, in Redis.
    pub fn fields(&self) -> &str {
        &self.fields
    }

    /// Whether it has a timestamp.
    pub fn has_timestamp(&self) -> bool {
        self.has_timestamp
    }

    /// The field's value as JSON, if the update has it and the fold acts on it: one of `stage`, `progress`, `current`,
    /// `total`, `stage_progress`, `eta` and `eta_high`.
    pub fn value(&self, name: &str) -> Option<&str> {
        let span = match name {
            "stage" => self.layout.stage,
            "progress" if self.unknown_progress => return Some("null"),
            "progress" => self.layout.progress,
            "current" => self.layout.current,
            "total" => self.total,
            "stage_progress" => self.stage_progress,
            "eta" => self.eta,
            "eta_high" => self.eta_high,
            _ => return None,
        };
        span.get(&self.fields)
    }

    /// Whether the worker has paused the job.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Whether the update counts only if nobody has reported the attempt yet.
    pub fn unless_known(&self) -> bool {
        self.unless_known
    }

    /// The attributes that the update sets, in its order, as JSON.
    pub fn attributes(&self) -> impl Iterator<Item = (Attribute, &str)> {
        let attributes = self.layout.attributes.iter();
        attributes.filter_map(|(attribute, span)| Some((*attribute, span.get(&self.fields)?)))
    }

    /// The attributes that end with the update: it says `null`, or has a field of that name that is of another type.
    pub fn cleared(&self) -> &[Attribute] {
        &self.cleared
    }
}

/// A field as it was reported.
#[derive(Clone, Copy)]
struct Field<'a> {
    name: &'a Cow<'a, str>,
    value: &'a RawValue,
    /// Whether the whole update is known to be.
    is_on_one_line: bool,
}

/// The job that the address names, or the update's own `job_id`. If both name one, it has to be the same.
fn job_of(address: Option<&JobId>, job_id: Option<&RawValue>) -> Result<JobId, InvalidUpdate> {
    let Some(value) = job_id else {
        return address.cloned().ok_or_else(|| InvalidUpdate::field("job_id", "is missing"));
    };
    let named = string("job_id", value)?;
    match address {
        Some(job) if job.as_str() == named => Ok(job.clone()),
        Some(job) => {
            let detail = format!("is {named:?}, but the address says {:?}", job.as_str());
            Err(InvalidUpdate::field("job_id", detail))
        }
        None => JobId::parse(&named).map_err(InvalidUpdate::JobId),
    }
}

fn is_known(name: &str) -> bool {
    matches!(name, "stage" | "message" | "timestamp" | "error" | "attempt" | "ttl")
}

fn present(value: &RawValue) -> Option<&RawValue> {
    (value.get() != "null").then_some(value)
}

fn parse_object(text: &str) -> Result<Fields<'_>, InvalidUpdate> {
    serde_json::from_str(text).map_err(|error| {
        // serde_json stops at a first token that does not open an object. The rest may or may not be JSON.
        let not_json = if error.is_data() {
            serde_json::from_str::<IgnoredAny>(text).err()
        } else {
            Some(error)
        };
        match not_json {
            Some(error) => InvalidUpdate::NotJson { detail: explain(text, &error) },
            None => InvalidUpdate::NotAnObject,
        }
    })
}

fn explain(text: &str, error: &serde_json::Error) -> String {
    // Python's json.dumps writes these for floats that are not numbers. They are not JSON.
    for token in ["NaN", "Infinity"] {
        if text.contains(token) {
            return format!("{error} ({token} is not JSON; leave such a value out or send null)");
        }
    }
    error.to_string()
}

fn string<'a>(name: &str, value: &'a RawValue) -> Result<Cow<'a, str>, InvalidUpdate> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    if let Some(text) = json::plain_text(value.get()) {
        return Ok(Cow::Borrowed(text));
    }
    match serde_json::from_str::<Text<'_>>(value.get()) {
        Ok(Text(text)) => Ok(text),
        Err(_) if value.get().starts_with('"') => {
            Err(InvalidUpdate::field(name, "has an escape that is no character (a lone surrogate)"))
        }
        Err(_) => {
            Err(InvalidUpdate::field(name, format!("is not a string: {}", excerpt(value.get()))))
        }
    }
}

fn integer(name: &str, value: &RawValue, max: u32) -> Result<u32, InvalidUpdate> {
    match serde_json::from_str::<u32>(value.get()) {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => {
            let detail = format!("is not an integer of 1 to {max}: {}", excerpt(value.get()));
            Err(InvalidUpdate::field(name, detail))
        }
    }
}

fn parse_status(name: &str) -> Result<Status, InvalidUpdate> {
    Status::from_name(name).ok_or_else(|| {
        let known = Status::ALL.map(Status::as_str).join(", ");
        InvalidUpdate::field("status", format!("is {}, which is none of {known}", excerpt(name)))
    })
}

/// The clamped value as text, if the progress is outside of 0…1.
fn parse_progress(value: &RawValue) -> Result<Option<&'static str>, InvalidUpdate> {
    let text = value.get();
    let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    match text.parse::<f64>() {
        Ok(number) if is_number && number.is_finite() => Ok(if number > 1.0 {
            Some("1.0")
        } else if number < 0.0 {
            Some("0.0")
        } else {
            None
        }),
        Ok(_) if is_number => {
            Err(InvalidUpdate::field("progress", format!("is not finite: {}", excerpt(text))))
        }
        _ => Err(InvalidUpdate::field(
            "progress",
            format!("is not a number or null: {}", excerpt(text)),
        )),
    }
}

/// The beginning of an invalid value, short enough for an error message.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().nth(LONGEST).is_none() {
        text.to_owned()
    } else {
        text.chars().take(LONGEST).chain(['…']).collect()
    }
}

/// Why a text is not an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidUpdate {
    /// It is not JSON in UTF-8.
    NotJson {
        /// What is wrong, and where.
        detail: String,
    },
    /// It is JSON, but not an object.
    NotAnObject,
    /// Its `job_id` is not a job id.
    JobId(InvalidJobId),
    /// A field is invalid.
    Field {
        /// The field's name.
        name: String,
        /// What is wrong with it, as the rest of a sentence that begins with the name.
        detail: String,
    },
}

impl InvalidUpdate {
    pub(crate) fn field(name: &str, detail: impl Into<String>) -> Self {
        Self::Field { name: name.to_owned(), detail: detail.into() }
    }

    fn not_utf8(error: std::str::Utf8Error) -> Self {
        Self::NotJson { detail: format!("it is not UTF-8: byte {}", error.valid_up_to()) }
    }
}

impl fmt::Display for InvalidUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { detail } => write!(f, "not JSON: {detail}"),
            Self::NotAnObject => f.write_str("an update is a JSON object"),
            Self::JobId(invalid) => write!(f, "job_id: {invalid}"),
            Self::Field { name, detail } => write!(f, "{name} {detail}"),
        }
    }
}

impl std::error::Error for InvalidUpdate {}
