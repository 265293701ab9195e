"""The program that this process runs, as people call it."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def program_name() -> str:
    """The name of the script, module or notebook; `python` where code is typed or passed on the command line."""
    notebook = os.environ.get("JPY_SESSION_NAME")
    if notebook:
        # What Jupyter's server tells the kernel: the notebook's path, perhaps with a random end for consoles.
        return Path(notebook).stem
    given = getattr(sys, "argv", None) or [""]
    path = Path(str(given[0]))
    if path.stem == "__main__":
        # `python -m package`
        return path.resolve().parent.name
    if path.stem in ("ipykernel_launcher", "colab_kernel_launcher"):
        return "notebook"
    return "python" if path.stem in ("", "-c", "-m", "-") else path.stem
