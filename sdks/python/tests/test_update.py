"""Whatever a worker says, what is sent is an update that a server takes."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import json
import math
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from milepost import _json
from milepost._record import Record
from milepost._update import MAX_UPDATE_BYTES, Update


def sent(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(record.encode(0.0).data)
    return found


def test_a_job_that_has_said_nothing() -> None:
    update = sent(Record("a"))
    assert update.pop("timestamp").endswith("Z")
    assert update == {"job_id": "a", "status": "processing", "progress": None}


def test_everything_that_can_be_said() -> None:
    record = Record("a", attempt=3, ttl=60)
    record.enter("rendering")
    record.own.set_total(8)
    record.own.unit = "frames"
    record.own.advance(2)
    record.message("frame 2")
    record.metadata({"codec": "h264", "unit": "mine"})
    update = sent(record)
    del update["timestamp"]
    assert update == {
        "job_id": "a",
        "status": "processing",
        "stage": "rendering",
        "progress": 0.25,
        "message": "frame 2",
        "metadata": {"current": 2, "total": 8, "unit": "mine", "codec": "h264"},
        "attempt": 3,
        "ttl": 60,
        "unit": "frames",
        "current": 2,
        "total": 8,
    }


def test_rate_once_it_is_known_and_no_time_left() -> None:
    record = Record("a")
    record.own.set_total(100)
    record.encode(0.0)
    record.own.set(20)
    assert json.loads(record.encode(4.0).data)["metadata"] == {
        "current": 20, "total": 100, "rate": 5.0,
    }  # fmt: skip


def test_ends() -> None:
    record = Record("a")
    record.enter("rendering")
    record.own.set_progress(0.4)
    record.result({"url": "u"})
    assert record.end("failed", "out of memory")
    update = sent(record)
    assert (update["status"], update["stage"], update["progress"]) == ("failed", "rendering", 0.4)
    assert (update["message"], update["error"]) == ("Error: out of memory", "out of memory")
    assert "result" not in update
    # The first end wins, and is sent with the same bytes each time.
    assert not record.end("completed", None)
    assert record.encode(1.0).data == record.encode(2.0).data

    record = Record("a")
    record.result({"url": "u"})
    assert record.end("completed", None)
    update = sent(record)
    assert (update["status"], update["stage"], update["progress"]) == ("completed", "complete", 1.0)
    assert (update["message"], update["result"]) == ("Job completed", {"url": "u"})

    record = Record("a")
    assert record.end("cancelled", "interrupted")
    update = sent(record)
    assert (update["status"], update["message"]) == ("cancelled", "interrupted")
    assert "error" not in update


@dataclasses.dataclass
class Clip:
    name: str
    length: float


class Colour(enum.Enum):
    RED = 1


class Number:
    """As numpy's are."""

    def tolist(self) -> float:
        return 0.5


class Rude:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, 2.5, None, True, "ü"]}, {"a": [1, 2.5, None, True, "ü"]}),
        (math.nan, None),
        ({"loss": [math.inf, -math.inf, 1.0]}, {"loss": [None, None, 1.0]}),
        (Clip("a", 2.0), {"name": "a", "length": 2.0}),
        (datetime.date(2024, 1, 2), "2024-01-02"),
        (datetime.datetime(2024, 1, 2, 3, 4), "2024-01-02T03:04:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("a/b"), "a/b"),
        (decimal.Decimal("1.5"), "1.5"),
        ({3}, [3]),
        (Colour.RED, "Colour.RED"),
        (Number(), 0.5),
        ({"n": Number()}, {"n": 0.5}),
        ({(1, 2): 3, 4: 5, None: 6}, {"(1, 2)": 3, "4": 5, "null": 6}),
        ("\udcff", "?"),
        (ValueError("no"), "no"),
        (b"x", "b'x'"),
    ],
)
def test_values_are_turned_into_json(value: object, expected: object) -> None:
    text = _json.encode(value)
    assert json.loads(text) == expected
    text.encode()


def test_what_cannot_be_json_says_why() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(_json.NotJson, match="contains itself"):
        _json.encode(loop)
    with pytest.raises(_json.NotJson, match="no"):
        _json.encode({"a": Rude()})


@pytest.mark.parametrize("size", [10, 70_000, 1_000_000])
@pytest.mark.parametrize("text", ["x", "é", "\x01", "🎬", "\udcff"])
def test_no_update_is_too_large(text: str, size: int) -> None:
    update = Update("a" * 128, "failed")
    update.stage(text * size)
    update.text("message", text * size)
    update.text("error", text * size)
    update.json("metadata", json.dumps("m" * size))
    update.json("result", json.dumps("r" * size))
    data = update.encode().data
    assert len(data) <= MAX_UPDATE_BYTES
    assert len(json.loads(data)["stage"].encode()) <= 256
    assert (not update.truncated) == (size == 10)


@pytest.mark.parametrize(
    ("metadata", "result", "truncated"),
    [
        (9, 9, []),
        (9, 70_000, ["result"]),
        (70_000, 9, ["metadata"]),
        (40_000, 40_000, ["metadata"]),
        (70_000, 70_000, ["metadata", "result"]),
    ],
)
def test_only_the_part_that_is_too_large_is_dropped_and_named(metadata: int, result: int, truncated: list[str]) -> None:
    update = Update("a", "completed")
    update.json("metadata", json.dumps("m" * metadata))
    update.json("result", json.dumps("r" * result))
    data = json.loads(update.encode().data)
    assert data.get("truncated", []) == truncated
    assert {"metadata", "result"} - set(data) == set(truncated)


class Endless(collections.abc.Mapping[str, int]):
    """More than anybody has time for."""

    def __init__(self) -> None:
        self.asked = 0

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        while True:
            self.asked += 1
            yield "x"

    def __getitem__(self, key: str) -> int:
        return 1


class Array:
    """As numpy's and torch's: it knows its size before it is converted."""

    def __init__(self, **size: object) -> None:
        self.__dict__.update(size)

    def tolist(self) -> list[object]:
        raise AssertionError("converted")


def test_a_huge_value_is_given_up_early() -> None:
    endless = Endless()
    huge: list[object] = [endless, "x" * 10_000_000, list(range(10_000_000)), b"x" * 10_000_000, 10**100_000]
    arrays = [Array(size=10_000_000), Array(size=lambda: "torch.Size", numel=lambda: 10_000_000)]
    for value in [*huge, *arrays, {"deep": [huge[2]]}]:
        with pytest.raises(_json.TooLarge):
            _json.encode(value)
    assert endless.asked <= MAX_UPDATE_BYTES


def test_an_update_shrinks_to_next_to_nothing_in_four_steps() -> None:
    update = Update("a", "failed")
    update.text("error", "x" * 5_000)
    update.json("metadata", "1")
    update.json("result", "222")
    assert [update.reduce() for _ in range(5)] == [True, True, True, True, False]
    assert len(update.encode().data) < 300
    assert update.truncated == ("error", "metadata", "result")


def test_an_unsendable_result_is_named_and_a_later_one_sent(warnings: Any) -> None:
    record = Record("a")
    record.result("x" * 70_000)
    assert "truncated" not in sent(record)
    record.end("completed", None)
    assert sent(record)["truncated"] == ["result"]
    record = Record("b")
    record.result(Rude())
    record.result(1)
    record.end("completed", None)
    assert (sent(record)["result"], sent(record).get("truncated")) == (1, None)
    assert len(warnings()) == 2


def test_metadata_is_bounded(warnings: Any) -> None:
    record = Record("a")
    for number in range(100):
        record.metadata({f"key{number}": "x" * 1_000})
    assert 45 <= len(sent(record)["metadata"]) < 49
    assert len(warnings()) == 1
    record.metadata({"key1": "shorter"})
    assert sent(record)["metadata"]["key1"] == "shorter"


def test_small_values_are_recognized_in_few_steps() -> None:
    from decimal import Decimal

    from milepost._result import is_small

    for small in (None, True, 1, 1.5, "a", {"a": [1, 2]}, Decimal(1), list(range(300)), {"a": {"b": None}}):
        assert is_small(small), small
    itself: list[object] = []
    itself.append(itself)
    for large in ("x" * 5000, list(range(10_000_000)), {n: n for n in range(5000)}, 10**20_000, object(), itself):
        assert not is_small(large)
