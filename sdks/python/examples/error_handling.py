"""What watchers see when things go wrong: `error_handling.py [JOB_ID]` runs four jobs.

- `JOB_ID-reported`: the worker says why it failed;
- `JOB_ID-raised`: an exception leaves the `with` block;
- `JOB_ID-forgotten`: the worker goes away, and says nothing;
- `JOB_ID-retried`: the first attempt fails, the second does it.

The work is to add up the numbers in a text.
"""

import sys

import milepost

GOOD = "12 7 23 4"
BAD = "12 7 twenty-three 4"


def main(job_id: str = "error-handling") -> None:
    reported(f"{job_id}-reported")
    try:
        raised(f"{job_id}-raised")
    except ValueError as error:
        print("raised:", error)
    forgotten(f"{job_id}-forgotten")
    retried(f"{job_id}-retried")


def reported(job_id: str) -> None:
    job = milepost.job(id=job_id, stage="adding")
    try:
        job.complete(add(job, BAD))
    except ValueError as error:
        print("reported:", error)
        job.fail(f"not a number: {error}")


def raised(job_id: str) -> None:
    with milepost.job(id=job_id, stage="adding") as job:
        job.result(add(job, BAD))


def forgotten(job_id: str) -> None:
    """The job is dropped on the way out, and has failed: "dropped without an outcome"."""
    job = milepost.job(id=job_id, stage="adding")
    print("forgotten:", add(job, GOOD))


def retried(job_id: str) -> None:
    """A job that has failed stays so: another try is another attempt, and starts clean."""
    for attempt, numbers in enumerate([BAD, GOOD], start=1):
        try:
            with milepost.job(id=job_id, attempt=attempt, stage="adding") as job:
                job.result(add(job, numbers))
        except ValueError as error:
            print(f"retried: attempt {attempt}:", error)


def add(job: milepost.Job, numbers: str) -> int:
    total = 0
    for number in job.track(numbers.split(), unit="numbers"):
        job.message(f"Adding {number}")
        total += int(number)
    return total


if __name__ == "__main__":
    main(*sys.argv[1:])
