"""What describes a job's attempt rather than the moment: the attributes of section 2 of the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

from ._attributes import MAX_NAME_BYTES, MAX_SECONDS, MAX_TAGS, MAX_UNIT_BYTES, accepts
from ._json import clean, cut, encode
from ._update import Update, quote


class Description:
    """A job's attributes as JSON. They are sent with each update, so that an update that is lost costs nothing."""

    def __init__(self) -> None:
        self._attributes: dict[str, str] = {}
        self._artifacts: list[Mapping[str, object]] = []
        self._has_unit = False
        self.stages: frozenset[str] = frozenset()
        """The ids of the stages that are declared."""

    def name(self, name: str) -> None:
        """The kind of job. Cut at 64 bytes; an empty one is none."""
        text = cut(clean(name), MAX_NAME_BYTES)
        self._set("name", quote(text) if text else None)

    def tags(self, tags: Sequence[str]) -> None:
        """At most 16, each cut at 64 bytes; empty ones are left out."""
        texts = [cut(clean(tag), MAX_NAME_BYTES) for tag in tags]
        quoted = [quote(text) for text in texts if text][:MAX_TAGS]
        self._set("tags", f"[{','.join(quoted)}]" if quoted else None)

    def declare_stages(self, stages: Sequence[Mapping[str, object]]) -> bool:
        """Declares the stages of the attempt. Returns whether they are valid; if not, nothing changes."""
        given = list(stages)
        text = encode(given)
        if not accepts("stages", given, text):
            return False
        self.stages = frozenset(str(stage["id"]) for stage in given)
        self._set("stages", text)
        return True

    def parent(self, job_id: str, weight: Optional[float]) -> bool:
        """The job is a child of another one. Returns whether that is valid; if not, nothing changes."""
        if not accepts("parent_id", job_id) or not (weight is None or accepts("weight", weight)):
            return False
        self._set("parent_id", quote(job_id))
        self._set("weight", None if weight is None else repr(weight))
        return True

    @property
    def has_parent(self) -> bool:
        """Whether the job is a child of another one."""
        return "parent_id" in self._attributes

    def expect_children(self, count: int) -> bool:
        """How many children the job is going to have. Returns whether that is a number of children."""
        if not accepts("children_expected", count):
            return False
        self._set("children_expected", str(count))
        return True

    def end_with_children(self, count: int) -> None:
        """The server ends the job once that many children have ended."""
        if self.expect_children(count):
            self._set("complete_when", quote("all_ended"))

    def heartbeat(self, seconds: float) -> None:
        """How often the job is reported at least."""
        self._set("heartbeat", repr(min(seconds, MAX_SECONDS)))

    def cancellable(self) -> bool:
        """The worker answers requests. Returns whether that is new."""
        is_news = "cancellable" not in self._attributes
        self._set("cancellable", "true")
        return is_news

    def artifact(self, fields: Mapping[str, object]) -> bool:
        """A link to what the job made; one of the same name is replaced. Returns whether there is room for it."""
        known = [each for each in self._artifacts if each["name"] != fields["name"]] + [fields]
        text = encode(known)
        if not accepts("artifacts", known, text):
            return False
        self._artifacts = known
        self._set("artifacts", text)
        return True

    def _set(self, attribute: str, text: Optional[str]) -> None:
        # A new one each time: the sender may be reading the one before.
        others = {name: value for name, value in self._attributes.items() if name != attribute}
        self._attributes = others if text is None else {**others, attribute: text}

    def add_to(self, update: Update, unit: Optional[str]) -> None:
        """Adds the attributes to an update; `unit` is what the counter that is shown counts."""
        for name, text in self._attributes.items():
            update.json(name, text)
        if unit and len(clean(unit).encode()) <= MAX_UNIT_BYTES:
            self._has_unit = True
            update.json("unit", quote(unit))
        elif self._has_unit:
            # The counter before had one, which would stay.
            update.json("unit", "null")
