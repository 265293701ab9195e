"""tqdm that also reports, under the name of tqdm's own module: `from milepost.tqdm import tqdm`. Needs the extra
`tqdm`."""

from __future__ import annotations

try:
    import tqdm as _original  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError("milepost.tqdm needs the package tqdm: `pip install 'milepost[tqdm]'`") from error

from ._tqdm import tqdm, trange

__all__ = ["tqdm", "trange"]
