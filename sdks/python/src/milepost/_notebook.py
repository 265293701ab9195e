"""A job in a notebook's cell: a bar that watches the server, above its last state as plain HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Optional

from ._boundary import harmless

if TYPE_CHECKING:
    from ._job import Job

MAX_CELLS = 8
"""The most cells that are updated when the job ends. Earlier ones keep their last state."""


def html_of(state: dict[str, Any], server: Optional[str]) -> str:
    """The job as HTML: what its state is now and, if it is reported to a server, a bar that watches it there.

    The notebook keeps both. Where scripts may not run, or the server does not answer or does not know the job any more,
    the state is shown. No credential is in it.
    """
    still = _still(state)
    if server is None:
        return still
    url, job_id = escape(server), escape(str(state["job_id"]))
    return (
        f'<script type="module" src="{url}/job-progress.js"></script>'
        "<style>job-progress[status] + .milepost-state { display: none }</style>"
        f'<job-progress job="{job_id}" url="{url}"></job-progress>{still}'
    )


def _still(state: dict[str, Any]) -> str:
    status, progress = str(state["status"]), state.get("progress")
    known = [state.get("stage"), None if progress is None else f"{progress:.0%}", state.get("message"), status]
    line = " · ".join(escape(str(each)) for each in known if each)
    # Of a bar that has ended, an unknown progress would move for ever.
    bar = "" if progress is None else f'<progress max="1" value="{progress:.4f}"></progress> '
    return f'<div class="milepost-state">{bar}{escape(str(state["job_id"]))}: {line}</div>'


class Cells:
    """The cells that show one job."""

    def __init__(self) -> None:
        self._handles: list[Any] = []

    @harmless
    def show(self, job: Job) -> None:
        from IPython import display

        # It has no types.
        show: Any = display.display
        handle = show(_forms_of(job), raw=True, display_id=True)
        self._handles = [*self._handles, handle][-MAX_CELLS:]

    @harmless
    def update(self, job: Job) -> None:
        forms = _forms_of(job)
        for handle in self._handles:
            handle.update(forms, raw=True)

    def __bool__(self) -> bool:
        return bool(self._handles)


def _forms_of(job: Job) -> dict[str, str]:
    return {"text/plain": repr(job), "text/html": job._repr_html_()}
