use crate::step::{Outcome, Shell, Step};

/// The benchmarks, which are a crate of their own and know their own arguments.
pub(crate) fn steps(arguments: &[String]) -> Vec<Step> {
    let shell = Shell::cargo().args("run --quiet --release -p milepost-bench --");
    let shell = arguments.iter().fold(shell, Shell::arg);
    let about = "the benchmarks, with their peers";
    vec![Step::new("bench", about, move || shell.run().map(|()| Outcome::Passed))]
}
