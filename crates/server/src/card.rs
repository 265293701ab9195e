//! The Open Graph card of a job's page, which other sites show where somebody posts a link to it.

use std::sync::Arc;

use http::Uri;
use milepost_protocol::{JobId, Position, State, Status};

use crate::instance::Instance;
use crate::request::parameter;
use crate::watching::badge::{Badge, xml};

/// A longer description is cut, in characters.
const MAX_DESCRIPTION: usize = 200;

/// What a link to the page of a job says of the job.
pub(crate) struct Card {
    /// Elements for the page's head.
    pub(crate) html: String,
    /// Of the state that it describes.
    pub(crate) position: Position,
}

impl Card {
    /// The card of the job that the page's address names. None if there is no such job, and where visitors need a credential:
    /// the sites that ask for a card have none, and nothing of a job is for everybody there.
    pub(crate) async fn of(instance: &Arc<Instance>, uri: &Uri) -> Option<Self> {
        if instance.gate.is_some() {
            return None;
        }
        let parameters = parameter::decode(uri.query()).ok()?;
        let (_, job) = parameters.iter().find(|(name, _)| name == "job")?;
        // The page itself says what is wrong with an id, or with the broker.
        let job = JobId::parse(job).ok()?;
        let state = instance.broker.state(&job).await.ok()??;
        Some(Self { html: html(&state), position: state.position() })
    }
}

fn html(state: &State) -> String {
    let title = format!("{}: {}", state.job(), Badge::of(state).message());
    let tags = [
        ("og:site_name", "Milepost".to_owned()),
        ("og:type", "website".to_owned()),
        ("og:title", title),
        ("og:description", description(state)),
        ("twitter:card", "summary".to_owned()),
    ];
    let tags = tags.into_iter().filter(|(_, content)| !content.is_empty());
    let tags = tags.map(|(name, content)| {
        format!("<meta property=\"{name}\" content=\"{}\">\n", xml(&content))
    });
    tags.collect()
}

/// `rendering · Frame 1500 of 2000`, or the last line of an error.
fn description(state: &State) -> String {
    let view = state.view();
    let last_line = |text: &str| {
        text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
    };
    let error = view.error.as_deref().filter(|_| state.status() == Status::Failed).map(last_line);
    let message = error.or_else(|| view.message.as_deref().map(|text| text.trim().to_owned()));
    let stage = Some(view.stage.into_owned()).filter(|_| !state.status().is_end());
    let parts = [stage, message].into_iter().flatten().filter(|part| !part.is_empty());
    let text = parts.collect::<Vec<_>>().join(" · ");
    match text.char_indices().nth(MAX_DESCRIPTION) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
