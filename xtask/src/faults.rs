use crate::step::{Outcome, Shell, Step};
use crate::target_directory;

/// The simulation, which knows its own arguments. Optimized, so that 10,000 seeds take minutes.
pub(crate) fn simulate(arguments: &[String]) -> Vec<Step> {
    let run = Shell::cargo().args("run --quiet --profile instructions -p milepost-simulation --");
    let run = arguments.iter().fold(run, Shell::arg);
    vec![Step::command("simulate", "hubs, reporters and watchers on simulated time", run)]
}

/// One instance, abused for a while: `--minutes N`.
pub(crate) fn soak(arguments: &[String]) -> Result<Vec<Step>, String> {
    let minutes = match arguments {
        [] => "20",
        [flag, minutes] if flag == "--minutes" => minutes,
        _ => return Err("soak takes --minutes N".to_owned()),
    };
    Ok(steps(&["--soak".to_owned(), minutes.to_owned()]))
}

/// The fault suite, which is a crate of its own and knows its own arguments.
pub(crate) fn steps(arguments: &[String]) -> Vec<Step> {
    if arguments.iter().any(|argument| matches!(argument.as_str(), "-h" | "--help" | "--list")) {
        // Only a text: no release build for it.
        let run = Shell::cargo().args("run --quiet -p milepost-faults --");
        let run = arguments.iter().fold(run, Shell::arg);
        return vec![Step::command("faults", "what the fault suite takes", run)];
    }
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
