"""Files whose bytes are counted."""

from __future__ import annotations

import csv
import io
import shutil
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live_server import LiveServer
from reported import history, until

import milepost


@pytest.fixture(autouse=True)
def reporting(server: LiveServer) -> Iterator[None]:
    reporter = milepost.configure(server.url)
    yield
    reporter.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("ä,b\n" * 1_000, "utf-8")
    return path


READS: list[Callable[[Any], object]] = [
    lambda file: file.read(),
    lambda file: file.readlines(),
    lambda file: list(iter(file.readline, file.read(0))),
    lambda file: list(csv.reader(file)) if "b" not in file.mode else list(file),
    lambda file: shutil.copyfileobj(file, io.BytesIO() if "b" in file.mode else io.StringIO()),
]


@pytest.mark.parametrize("mode", ["r", "rb"])
@pytest.mark.parametrize("read", READS)
def test_what_is_read_is_counted(
    server: LiveServer, job_id: str, path: Path, mode: str, read: Callable[[Any], object]
) -> None:
    options: dict[str, Any] = {"encoding": "utf-8"} if mode == "r" else {}
    with milepost.open(path, mode, id=job_id, **options) as file:
        read(file)
    end = until(server, job_id, status="completed")
    assert (end["current"], end["total"], end["unit"], end["name"]) == (5_000, 5_000, "B", "rows.csv")


@pytest.mark.parametrize("method", ["readinto", "readinto1"])
def test_a_buffer_that_is_read_into(server: LiveServer, job_id: str, path: Path, method: str) -> None:
    with milepost.open(path, "rb", id=job_id) as file:
        file.seek(1_000)
        assert getattr(file, method)(bytearray(3_000)) == 3_000
    assert until(server, job_id, status="completed")["current"] == 3_000


def test_what_is_written_is_counted(server: LiveServer, job_id: str, tmp_path: Path) -> None:
    with milepost.open(tmp_path / "out", "wb", total=6, id=job_id) as file:
        assert file.write(b"abc") == 3
        until(server, job_id, current=3, progress=0.5)
    until(server, job_id, status="completed")
    assert (tmp_path / "out").read_bytes() == b"abc"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8-sig", "utf-16"])
def test_text_counts_as_in_its_encoding(server: LiveServer, job_id: str, tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "text"
    path.write_text("ä\n" * 100, encoding)
    with milepost.open(path, encoding=encoding, id=job_id) as file:
        assert sum(1 for _ in file) == 100
    assert until(server, job_id, status="completed")["current"] == path.stat().st_size


def test_text_that_its_encoding_does_not_have(server: LiveServer, job_id: str, path: Path) -> None:
    path.write_bytes(b"a\xff\n" * 100)
    with milepost.open(path, encoding="utf-8", errors="surrogateescape", id=job_id) as file:
        assert file.read() == "a\udcff\n" * 100
    assert until(server, job_id, status="completed")["current"] == 300


def test_every_way_to_write_is_counted(server: LiveServer, job_id: str, tmp_path: Path) -> None:
    with milepost.open(tmp_path / "out", "wb", id=job_id) as file:
        file.writelines(iter([b"abc", b"def"]))
        file.write(memoryview(array("d", [1.0, 2.0])))
    assert until(server, job_id, status="completed")["current"] == 22
    assert (tmp_path / "out").stat().st_size == 22


def test_inside_of_a_job_a_file_is_a_stage(server: LiveServer, job_id: str, path: Path) -> None:
    with milepost.job(id=job_id) as job:
        with milepost.open(path, "rb") as file:
            file.read()
        assert not job.has_ended
        until(server, job_id, stage="rows.csv", current=5_000)


def test_a_file_that_is_none_of_the_disk(server: LiveServer, job_id: str) -> None:
    file = milepost.wrap_file(io.BytesIO(b"x" * 100), name="download", id=job_id)
    file.read(40)
    found = until(server, job_id, current=40)
    assert (found["progress"], found["name"]) == (None, "download")
    file.close()
    until(server, job_id, status="completed")
    assert file.closed


def test_an_exception_fails_a_file_that_is_a_job(server: LiveServer, job_id: str, path: Path) -> None:
    with pytest.raises(ValueError, match="no such row"), milepost.open(path, id=job_id):
        raise ValueError("no such row")
    assert until(server, job_id, status="failed")["error"].startswith("ValueError: no such row")
    assert history(server, job_id)


def test_a_file_that_cannot_be_opened_is_no_job(path: Path, warnings: Callable[[], list[str]]) -> None:
    with pytest.raises(FileNotFoundError):
        milepost.open(path.with_name("none"))
    with pytest.raises(ValueError, match="mode"):
        milepost.open(path, "odd")
    assert warnings() == []
