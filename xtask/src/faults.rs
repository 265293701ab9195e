use crate::step::{Outcome, Shell, Step};
use crate::target_directory;

/// The simulation, which knows its own arguments. Optimized, so that 10,000 seeds take minutes.
pub(crate) fn simulate(arguments: &[String]) -> Vec<Step> {
    let run = Shell::cargo().args("run --quiet --profile instructions -p milepost-simulation --");
    let run = arguments.iter().fold(run, Shell::arg);
    vec![Step::command("simulate", "hubs, reporters and watchers on simulated time", run)]
}

/// Instances abused for a while: `--minutes N`; `--redis` for two instances and a Redis that restarts, or `--tokens` for watchers
/// whose tokens expire.
pub(crate) fn soak(arguments: &[String]) -> Result<Vec<Step>, String> {
    let (mut minutes, mut kind) = ("20", None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--redis" | "--tokens" if kind.is_none() => {
                kind = Some(argument.replace("--", "--soak-"));
            }
            "--minutes" => {
                let number = arguments.next().filter(|number| number.parse::<u64>().is_ok());
                minutes = number.ok_or("--minutes takes a number")?;
            }
            _ => {
                return Err(format!(
                    "soak takes --minutes N and one of --redis and --tokens, not {argument}"
                ));
            }
        }
    }
    let kind = kind.unwrap_or_else(|| "--soak".to_owned());
    Ok(steps(&[kind, minutes.to_owned()]))
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
