"""What a loop costs for each of its items, and a call of `advance`: beside tqdm's, in turn in one run.

    python sdks/python/bench/track.py

Takes the package tqdm; milepost is that of this checkout. tqdm draws into nothing. Prints nanoseconds, the best of
several runs, without the loop itself, and how much that is of tqdm's: with nothing to report to, with a server that is
down, with one that accepts and never answers, and with one that refuses.
"""

from __future__ import annotations

import http.server
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import milepost

ITEMS = 2_000_000
CALLS = 300_000
RUNS = 5


def loop(make: Callable[[], Iterable[int]]) -> float:
    items = make()
    begun = time.perf_counter()
    for _ in items:
        pass
    return (time.perf_counter() - begun) / ITEMS * 1e9


def calls(make: Callable[[], Callable[[int], object]]) -> float:
    call = make()
    begun = time.perf_counter()
    for _ in range(CALLS):
        call(1)
    return (time.perf_counter() - begun) / CALLS * 1e9


def nothing(_: int) -> None:
    pass


def unused() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


class Refusing(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(422)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def best(measure: Callable[[str], float], names: list[str]) -> dict[str, float]:
    found = {name: float("inf") for name in names}
    for _ in range(RUNS):
        for name in names:
            found[name] = min(found[name], measure(name))
    return found


def main() -> None:
    logging.getLogger("milepost").setLevel(logging.CRITICAL)
    deaf = socket.create_server(("127.0.0.1", 0))
    refusing = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=refusing.serve_forever, daemon=True).start()
    urls = {
        "no server": None,
        "server down": unused(),
        "server slow": f"http://127.0.0.1:{deaf.getsockname()[1]}",
        "server refusing": f"http://127.0.0.1:{refusing.server_address[1]}",
    }
    with open(os.devnull, "w") as quiet, closing(deaf):
        jobs = {name: milepost.Reporter(url).job("bench") for name, url in urls.items()}
        loops: dict[str, Callable[[], Iterable[int]]] = {"bare": lambda: range(ITEMS)}
        loops["tqdm"] = lambda: tqdm(range(ITEMS), file=quiet)
        updates: dict[str, Callable[[], Callable[[int], object]]] = {"bare": lambda: nothing}
        updates["tqdm"] = lambda: tqdm(total=CALLS, file=quiet).update
        for name, job in jobs.items():
            loops[name] = lambda job=job: job.track(range(ITEMS))  # type: ignore[misc]
            updates[name] = lambda job=job: job.advance  # type: ignore[misc]
        per_item = best(lambda name: loop(loops[name]), list(loops))
        per_call = best(lambda name: calls(updates[name]), list(updates))
        print(f"{'':24}{'for x in track(xs)':>24}{'advance(1)':>24}")
        for name in list(loops)[1:]:
            label = "tqdm" if name == "tqdm" else f"milepost, {name}"
            columns = ""
            for found in (per_item, per_call):
                cost, of_tqdm = found[name] - found["bare"], found["tqdm"] - found["bare"]
                columns += f"{cost:>11.1f} ns ({cost / of_tqdm:5.0%})"
            print(f"{label:24}{columns}")
        for job in jobs.values():
            job.complete()


if __name__ == "__main__":
    main()
