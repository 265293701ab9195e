"""What is installed is not what is needed: nothing is raised, and it is said once."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from test_processes import SOURCE, Worker

import milepost

URL = "redis://127.0.0.1:1"

OLD = {
    # redis-py 3.5 and 4.0 have no module `cluster`.
    "redis/__init__.py": "__version__ = '4.0.2'\nVERSION = (4, 0, 2)\nclass RedisError(Exception): pass\n",
}
ANOTHER = {"redis.py": "print = print\n"}
BROKEN = {"redis.py": "raise OSError('this disk is gone')\n"}

CODE = """
for n in range(3):
    with milepost.job(id=f"job-{n}") as job:
        for _ in job.track(range(3), stage="one"):
            pass
    milepost.report("another")
milepost.flush()
try:
    next(iter(milepost.watch("job-0")))
except milepost.NoServer as error:
    print("cannot be watched" in str(error), flush=True)
"""


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (OLD, "redis-py 4.0.2 is too old; it takes redis-py 5.0 or later, `pip install 'milepost[redis]'`"),
        (ANOTHER, "is not redis-py; it takes redis-py 5.0 or later"),
        (BROKEN, "OSError: this disk is gone"),
    ],
)
def test_another_redis_is_there(files: dict[str, str], said: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    worker = Worker(CODE, URL, PYTHONPATH=f"{tmp_path}:{SOURCE}")
    worker.until_it_says("True")
    code, errors = worker.finish()
    assert code == 0
    (line,) = errors.strip().splitlines()
    assert line.startswith(f"milepost: nothing is reported to {URL}: ")
    assert said in line


def test_an_application_that_was_frozen_without_the_scripts() -> None:
    frozen = """
        from importlib import resources
        def files(*_):
            raise FileNotFoundError("milepost/_scripts/report.lua")
        resources.files = files
    """
    worker = Worker(frozen.replace("        ", "") + CODE, URL)
    worker.until_it_says("True")
    code, errors = worker.finish()
    assert code == 0
    (line,) = errors.strip().splitlines()
    assert line == f"milepost: nothing is reported to {URL}: FileNotFoundError: milepost/_scripts/report.lua"


def test_the_package_may_be_sent_to_another_process() -> None:
    """joblib and others pickle a script's functions by value, and with them the modules that they use."""
    assert pickle.loads(pickle.dumps(milepost)) is milepost
