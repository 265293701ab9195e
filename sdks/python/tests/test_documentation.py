"""The Python of the READMEs and guides runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from live_server import ENVIRONMENT, LiveServer
from test_processes import SOURCE

PACKAGE = Path(SOURCE).parent
ROOT = PACKAGE.parents[1]
# What a reader has of their own.
PRELUDE = """
import milepost as before
with before.job(id="job_12345", attempt="next"): pass
frames, size, file, url = range(3), 3, "a file", "https://example.com/v"
encode = print
put = lambda file, on_chunk: on_chunk(3)
"""


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def pages() -> list[Path]:
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("spec/*.md"), *ROOT.glob("sdks/python/**/*.md")]
    # e2e/test_snippets.py runs those of docs/security.md, with their frameworks.
    return sorted(page for page in found if page.name != "security.md" and blocks(page))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page(server: LiveServer, page: Path) -> None:
    # One after the other: some watch what those before have reported.
    program = PRELUDE + "\n".join(blocks(page))
    program = program.replace("localhost:8084", server.url.removeprefix("http://"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**ENVIRONMENT, "PYTHONPATH": SOURCE, "MILEPOST_URL": server.url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    drawn = ("it/s]", "?it/s]")
    assert (done.returncode, [line for line in done.stderr.split("\n") if line and not line.endswith(drawn)]) == (0, [])


def test_the_packages_page_links_to_addresses_only() -> None:
    """It is shown on the package index too, where there is no repository around it."""
    links = re.findall(r"\]\(([^)]+)\)", (PACKAGE / "README.md").read_text("utf-8"))
    assert links
    assert [link for link in links if not link.startswith("https://")] == []
