//! How many instructions the path from a report to a watcher takes, and what else is done for each watcher or each request,
//! compared with what they may take.
//!
//! ```sh
//! cargo run --profile instructions -p milepost-instructions          # compare with the budgets
//! cargo run --profile instructions -p milepost-instructions -- fold 1000   # one operation, to be profiled
//! ```
//!
//! Counts hardly vary from run to run, and not with what else the machine does; times do. Valgrind counts, of this program
//! run twice: what the second run does more often makes up the difference, so that start and end do not count.

mod operation;

use std::env;
use std::process::{Command, ExitCode};

use operation::Operation;

/// How many instructions one operation may take. More than 5 % above fails: raise a budget in the commit that explains
/// why. More than 10 % below fails as well: lower it, so that what was gained stays.
const BUDGETS: &[(&str, u64)] = &[
    ("parse", 6_920),
    ("fold", 2_400),
    ("frame", 181),
    ("log", 1_748),
    ("report", 13_060),
    ("deliver", 15_320),
    ("post", 39_600),
    ("post-key", 45_100),
    ("subscribe", 4_900),
    ("token", 36_480),
    ("list", 219_000),
];

const FEW: u64 = 1_000;
const MANY: u64 = 3_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => check(),
        [name, times] => match (Operation::by_name(name), times.parse()) {
            (Some(operation), Ok(times)) => {
                operation.run(times);
                ExitCode::SUCCESS
            }
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    let names: Vec<&str> = BUDGETS.iter().map(|(name, _)| *name).collect();
    eprintln!("milepost-instructions [<operation> <times>]; operations: {}", names.join(", "));
    ExitCode::from(2)
}

fn check() -> ExitCode {
    let mut kept = true;
    for (name, budget) in BUDGETS {
        let count = match (count(name, FEW), count(name, MANY)) {
            (Ok(few), Ok(many)) => many.saturating_sub(few) / (MANY - FEW),
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("{name}: {error}");
                return ExitCode::FAILURE;
            }
        };
        let verdict = if count * 100 > budget * 105 {
            "too many"
        } else if count * 100 < budget * 90 {
            "fewer than before: lower the budget"
        } else {
            "within"
        };
        println!("{name:8} {count:6} instructions, budget {budget}: {verdict}");
        kept &= verdict == "within";
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The instructions of this program while it does an operation so often.
fn count(name: &str, times: u64) -> Result<u64, String> {
    let own = env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(own)
        .args([name, &times.to_string()])
        .output()
        .map_err(|error| format!("cannot run valgrind: {error}"))?;
    let report = String::from_utf8_lossy(&output.stderr);
    let total = report.lines().find_map(|line| line.split_once("I   refs:"));
    let digits = total.map(|(_, count)| count.trim().replace(',', ""));
    let count = digits.and_then(|digits| digits.parse().ok()).filter(|_| output.status.success());
    count.ok_or_else(|| format!("valgrind says:\n{report}"))
}
