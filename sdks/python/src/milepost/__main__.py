"""Runs a program as one job, without a change to it.

    python -m milepost train.py --epochs 3
    MILEPOST_AUTO=1 python train.py          # the same, if you cannot change the command
    python -m milepost check                 # tests the URL, the server and the credential

The program's bars, of tqdm or rich, are the job's progress. The job completes when the program is done, and fails with
an uncaught exception. `MILEPOST_JOB` is the job's id and `MILEPOST_ATTEMPT` its attempt; the default id is made from
the file's name. Of several processes with a `RANK`, such as those of torchrun, the first is the job, and the others are
its children. Under `milepost run`, which already reports the job, the program just runs.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Literal, Union

from . import job
from ._check import check
from ._follow import follow_rich, follow_tqdm


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or arguments[0].startswith("-"):
        print("usage: python -m milepost PROGRAM.py [ARGUMENT…], or python -m milepost check", file=sys.stderr)
        raise SystemExit(0 if arguments in (["-h"], ["--help"]) else 2)
    program = arguments[0]
    if arguments == ["check"] and not Path("check").exists():
        found = check()
        print(f"milepost: {found.text}", file=sys.stdout if found.is_good else sys.stderr)
        raise SystemExit(0 if found.is_good else 1)
    if not Path(program).exists():
        print(f"milepost: there is no file {program}", file=sys.stderr)
        raise SystemExit(2)
    sys.argv = arguments
    sys.path[0] = str(Path(program).resolve().parent)
    run = os.environ.get("MILEPOST_RUN")
    if run and run == os.environ.get("MILEPOST_JOB"):
        # `milepost run` has begun this job, reads its bars and knows how it ends: it is one job, not two.
        runpy.run_path(program, run_name="__main__")
        return
    follow_tqdm()
    follow_rich()
    named = os.environ.get("MILEPOST_ATTEMPT", "")
    attempt: Union[int, Literal["next"]] = int(named) if named.isascii() and named.isdigit() else "next"
    job_id = os.environ.get("MILEPOST_JOB") or None
    with job(Path(program).stem, id=job_id, attempt=attempt, per_rank=job_id is not None) as running:
        try:
            runpy.run_path(program, run_name="__main__")
        except SystemExit as left:
            if left.code is None or left.code == 0:
                # So many programs say that they are done.
                running.complete()
            raise


if __name__ == "__main__":
    main()
