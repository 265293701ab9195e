//! A job's children as a tree of lines.

use milepost_protocol::{Children, JobId, State};

use crate::bars::{JobSummary, counts_in_words, grouped, known, sanitized};
use crate::client::Client;
use crate::jobs::children;

/// The most children of the job that are shown. The others are counted.
const MOST: usize = 20;

/// The most children of a child that are shown.
const MOST_NESTED: usize = 5;

/// The most jobs whose children are requested, so that a wide tree does not cost hundreds of requests.
const MAX_REQUESTS: usize = 10;

/// A longer id does not move the columns of the others.
const MAX_NAME: usize = 40;

/// The counts, and below them the children that matter most, with their own children. If they cannot be
/// listed, as with Redis, only the counts.
pub(super) fn tree(client: &Client, parent: &JobId, counts: &Children) -> String {
    let mut tree = Tree { client, lines: vec![counts_in_words(counts)], requests: 0 };
    tree.add(parent, counts, "", MOST);
    tree.lines.join("\n")
}

struct Tree<'a> {
    client: &'a Client,
    lines: Vec<String>,
    requests: usize,
}

impl Tree<'_> {
    fn add(&mut self, parent: &JobId, counts: &Children, indent: &str, most: usize) {
        if self.requests >= MAX_REQUESTS {
            return;
        }
        self.requests += 1;
        let Ok(shown) = children(self.client, parent, counts, most) else { return };
        let rest = known(counts).saturating_sub(shown.len());
        let widths = shown.iter().map(|state| state.job().as_str().len());
        let width = widths.max().unwrap_or(0).min(MAX_NAME);
        for (index, state) in shown.iter().enumerate() {
            let is_last = index + 1 == shown.len() && rest == 0;
            let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.lines.push(format!("{indent}{branch}{}", line(state, width)));
            if let Some(counts) = state.view().children {
                self.add(state.job(), &counts, &format!("{indent}{below}"), MOST_NESTED);
            }
        }
        if rest > 0 {
            let rest = grouped(u64::try_from(rest).unwrap_or(u64::MAX));
            self.lines.push(format!("{indent}└─ and {rest} more: milepost jobs --parent {parent}"));
        }
    }
}

/// `part-3  failed      no space left on device`.
fn line(state: &State, width: usize) -> String {
    let summary = JobSummary::of(state);
    let line =
        format!("{:width$}  {:>9}  {}", state.job().as_str(), summary.short(), summary.details());
    sanitized(line.trim_end()).into_owned()
}
