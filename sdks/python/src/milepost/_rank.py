"""The place of this process among those of one training, as torchrun and similar launchers set it."""

from __future__ import annotations

import os
from typing import NamedTuple, Optional

from ._argument import given_text
from ._boundary import warn_once


class Rank(NamedTuple):
    number: int
    """0 is the process that reports the whole training."""
    processes: int


def rank_of_environment() -> Optional[Rank]:
    """The values of `RANK` and `WORLD_SIZE`; None if there are no other processes, or if the values are invalid."""
    number, processes = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    if not all(text.isascii() and text.isdigit() and len(text) < 10 for text in (number, processes)):
        return None
    found = Rank(int(number), int(processes))
    return found if found.number < found.processes and found.processes > 1 else None


class Place(NamedTuple):
    """A job among those of the other processes."""

    id: Optional[object]
    parent: Optional[object]
    children: int


def place(id: Optional[object], parent: Optional[object]) -> Place:
    """The job that this process reports of one that all processes begin: rank 0 the job itself, the others children."""
    rank = rank_of_environment()
    if id is None:
        warn_once("per_rank has no effect without an id, the same in all processes")
    if rank is None or id is None:
        return Place(id, parent, 0)
    if rank.number == 0:
        return Place(id, parent, rank.processes - 1)
    return Place(f"{given_text(id)}:{rank.number}", id, 0)
