use crate::step::{Outcome, Shell, Step};
use crate::target_directory;

/// The fault suite, which is a crate of its own and knows its own arguments.
pub(crate) fn steps(arguments: &[String]) -> Vec<Step> {
    let build = Shell::cargo().args("build --quiet --release -p milepost -p milepost-faults");
    let built = target_directory().join("release");
    let suite = Shell::new(built.join("milepost-faults")).env("MILEPOST", built.join("milepost"));
    let suite = arguments.iter().fold(suite, Shell::arg);
    vec![Step::new("faults", "Milepost and its Redis, broken on purpose", move || {
        build.run()?;
        suite.run()?;
        Ok(Outcome::Passed)
    })]
}
