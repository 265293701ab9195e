"""Reports under the names that workers of the earlier service call, and asks what is known: `check_status.py [JOB_ID]`.

The work is to count the prime numbers below 20,000. `MILEPOST_URL` says where to report.
"""

import asyncio
import math
import sys

from milepost.compat import ProgressReporter

LIMIT, PARTS = 20_000, 10


async def main(job_id: str = "check-status") -> None:
    reporter = ProgressReporter()
    await reporter.initialize()
    await show(reporter, job_id)
    primes = 0
    for part in range(PARTS):
        numbers = range(LIMIT // PARTS * part, LIMIT // PARTS * (part + 1))
        primes += sum(map(is_prime, numbers))
        message = f"Counted {primes} primes"
        await reporter.report(job_id, "analyzing", (part + 1) / PARTS, message, {"primes": primes})
        if part == PARTS // 2:
            await show(reporter, job_id)
    await reporter.report_complete(job_id, {"primes": primes})
    await show(reporter, job_id)
    await reporter.close()


async def show(reporter: ProgressReporter, job_id: str) -> None:
    state = await reporter.get_status(job_id)
    if state is None:
        print(f"{job_id}: not known")
    else:
        print(f"{job_id}: {state['status']} at {state['progress']}: {state['message']}")


def is_prime(number: int) -> bool:
    return number >= 2 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
