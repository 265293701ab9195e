//! Reports under the names that workers of the earlier service call, and asks the server for what it has
//! stored. `check_status [JOB_ID]`
//!
//! The work is to count the prime numbers below 200,000.

use milepost_reporter::ProgressReporter;
use serde_json::json;

const LIMIT: u32 = 200_000;
const PARTS: u32 = 10;

fn main() {
    let id = std::env::args().nth(1).unwrap_or_else(|| "check-status".to_owned());
    let reporter = ProgressReporter::from_env();
    reporter.initialize();
    show(&reporter, &id);

    let mut primes = 0;
    for part in 0..PARTS {
        let numbers = LIMIT / PARTS * part..LIMIT / PARTS * (part + 1);
        primes += numbers.filter(|&number| is_prime(number)).count();
        let progress = f64::from(part + 1) / f64::from(PARTS);
        let message = format!("Counted {primes} primes");
        reporter.report(&id, "analyzing", progress, &message, json!({"primes": primes}));
        if part == PARTS / 2 {
            show(&reporter, &id);
        }
    }
    reporter.report_complete(&id, json!({"primes": primes}), "Job completed");
    show(&reporter, &id);
    reporter.close();
}

fn show(reporter: &ProgressReporter, id: &str) {
    match reporter.get_status(id) {
        Some(state) => {
            println!("{id}: {} at {}: {}", state["status"], state["progress"], state["message"]);
        }
        None => println!("{id}: not known"),
    }
}

fn is_prime(number: u32) -> bool {
    number >= 2 && (2..=number.isqrt()).all(|n| !number.is_multiple_of(n))
}
