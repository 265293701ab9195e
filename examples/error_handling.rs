//! What watchers see when things go wrong. `error_handling [JOB_ID]` runs four jobs:
//!
//! - `JOB_ID-reported`: the worker says why it failed;
//! - `JOB_ID-forgotten`: a `?` leaves the function, and nobody says anything;
//! - `JOB_ID-panicked`: the worker panics;
//! - `JOB_ID-retried`: the first attempt fails, the second does it.
//!
//! The work is to add up the numbers in a text.

use std::num::ParseIntError;
use std::thread;

use milepost_reporter::{Job, Reporter};

const GOOD: &str = "12\n7\n23\n4";
const BAD: &str = "12\n7\ntwenty-three\n4";

fn main() {
    let id = std::env::args().nth(1).unwrap_or_else(|| "error-handling".to_owned());
    let reporter = Reporter::from_env();

    reported(reporter.job(&format!("{id}-reported")));

    if let Err(error) = forgotten(reporter.job(&format!("{id}-forgotten"))) {
        println!("forgotten: {error}");
    }

    let job = reporter.job(&format!("{id}-panicked"));
    let worker = thread::spawn(move || panicked(&job));
    println!("panicked: {}", worker.join().is_err());

    retried(&reporter, &format!("{id}-retried"));
}

fn reported(job: Job) {
    job.stage("adding");
    match add(&job, BAD) {
        Ok(sum) => job.complete_with(sum),
        Err(error) => {
            println!("reported: {error}");
            job.fail(error);
        }
    }
}

/// The job is dropped on the way out, and has failed: "dropped without an outcome".
fn forgotten(job: Job) -> Result<(), ParseIntError> {
    job.stage("adding");
    let sum = add(&job, BAD)?;
    job.complete_with(sum);
    Ok(())
}

/// As above, and the job's error says that there was a panic.
fn panicked(job: &Job) {
    job.stage("adding");
    let sum = add(job, GOOD).unwrap_or(0);
    assert!(sum > 1_000, "the sum is only {sum}");
}

/// A job that has failed stays so: another try is another attempt, and starts clean.
fn retried(reporter: &Reporter, id: &str) {
    for (attempt, numbers) in [(1, BAD), (2, GOOD)] {
        let job = reporter.job(id).attempt(attempt);
        job.stage("adding");
        match add(&job, numbers) {
            Ok(sum) => {
                println!("retried: {sum}");
                job.complete_with(sum);
                return;
            }
            Err(error) => job.fail(error),
        }
    }
}

fn add(job: &Job, numbers: &str) -> Result<u32, ParseIntError> {
    job.unit("numbers");
    let numbers: Vec<&str> = numbers.lines().collect();
    let mut sum = 0;
    for number in job.track(numbers) {
        job.message(format!("Adding {number}"));
        sum += number.parse::<u32>()?;
    }
    Ok(sum)
}
