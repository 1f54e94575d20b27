"""`tl serve` under load: latency, requests per second and memory, on 127.0.0.1.

    python -m tests.benchmarks.serving runs/lite0 photos/ --clients 1 8 32 --requests 5000

The server is `tl serve` in a process of its own, as a user starts it. Each client keeps a connection, and sends its
next photograph as soon as the last one is answered. Clients are threads of this process, so they take some of the
machine's time from the server. Memory is the resident set of the server after every hundredth of the requests.
"""

import argparse
import concurrent.futures
import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

START_SECONDS = 120
ANSWER_SECONDS = 120
MEBIBYTE = 2**20
SAMPLES = 100
GROWTH = 0.05
"""Most that memory may grow by over the second half of the requests; it settles in the first."""


@dataclass
class Load:
    """What came of some requests.

    Attributes:
        clients: How many at the same time.
        seconds: From the first request to the last answer.
        latencies: Of each request, in seconds.
        failures: What went wrong, by request.
        memory: Resident sets of the server on the way, in bytes.
    """

    clients: int
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """By what share the highest memory of the last quarter is above that of the second."""
        quarter = max(1, len(self.memory) // 4)
        return max(self.memory[-quarter:]) / max(self.memory[quarter : 2 * quarter] or self.memory[:1]) - 1

    def quantile(self, share: float) -> float:
        """Latency in milliseconds that a share of the requests does not exceed."""
        ranked = sorted(self.latencies)
        return 1000 * ranked[min(len(ranked) - 1, int(share * len(ranked)))]


@contextlib.contextmanager
def serving(model: str, *flags: str) -> Iterator[tuple[str, int, psutil.Process]]:
    """Start `tl serve` on a free port; yield its host, port and process."""
    command = [sys.executable, "-m", "tl_toolkit", "serve", model, "--port", "0", *flags]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    killer = threading.Timer(START_SECONDS, server.kill)
    killer.start()
    try:
        assert server.stdout is not None
        found = next(filter(None, (re.match(r"page\s+http://([^:]+):(\d+)", line) for line in server.stdout)), None)
        killer.cancel()
        if found is None:
            raise SystemExit(f"{model} is not served: {server.wait()}")
        yield found[1], int(found[2]), psutil.Process(server.pid)
    finally:
        killer.cancel()
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


def load(host: str, port: int, process: psutil.Process, photos: Sequence[bytes], clients: int, requests: int) -> Load:
    """Send requests from some clients, each as fast as it is answered."""
    found, numbers, lock = Load(clients), itertools.count(), threading.Lock()

    def ask() -> None:
        connection = http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
        for number in numbers:
            if number >= requests:
                break
            started = time.perf_counter()
            problem = ""
            try:
                connection.request("POST", "/predict", photos[number % len(photos)])
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200 or "class_name" not in json.loads(body)[0]:
                    problem = f"{answer.status}: {body[:200]!r}"
            except (OSError, http.client.HTTPException, ValueError) as error:
                problem = f"{type(error).__name__}: {error}"
                connection.close()
            seconds = time.perf_counter() - started
            with lock:
                found.latencies.append(seconds)
                if problem:
                    found.failures.append(problem)
                if len(found.latencies) % max(1, requests // SAMPLES) == 0:
                    found.memory.append(process.memory_info().rss)
        connection.close()

    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        for future in [pool.submit(ask) for _ in range(clients)]:
            future.result()
    found.seconds = time.perf_counter() - started
    return found


def show(loads: Sequence[Load]) -> None:
    """Print a row for each number of clients."""
    table = Table("clients", "requests", "requests/s", "p50", "p95", "p99", "errors", "memory first, last", "growth")
    for each in loads:
        table.add_row(
            str(each.clients),
            f"{len(each.latencies):,}",
            f"{len(each.latencies) / each.seconds:.1f}",
            *(f"{each.quantile(share):.0f} ms" for share in (0.5, 0.95, 0.99)),
            str(len(each.failures)),
            f"{each.memory[0] / MEBIBYTE:.0f}, {each.memory[-1] / MEBIBYTE:.0f} MiB",
            f"{100 * each.growth:.1f} %",
        )
    Console(width=120).print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table; exit with 1 if a request failed, or memory grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a run folder or a model file")
    parser.add_argument("photos", type=Path, help="a folder of JPEG files, all levels")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=500, help="of each number of clients but the last")
    parser.add_argument("--last", type=int, help="requests of the last number of clients, for memory")
    parser.add_argument("--threads", type=int, help="of the server")
    chosen = parser.parse_args(arguments)
    files = sorted(chosen.photos.rglob("*.jpg"))[:1000]
    if not files:
        raise SystemExit(f"{chosen.photos} has no .jpg")
    photos = [file.read_bytes() for file in files]
    size = statistics.median(map(len, photos))
    cores, busy = os.cpu_count(), os.getloadavg()[0]
    print(f"{len(photos)} photographs, median {size / 1024:.0f} KiB; {cores} cores, load {busy:.1f}")
    flags = ["--threads", str(chosen.threads)] if chosen.threads else []
    loads = []
    with serving(chosen.model, *flags) as (host, port, process):
        load(host, port, process, photos, 1, 20)  # Warms up.
        for place, clients in enumerate(chosen.clients):
            last = place == len(chosen.clients) - 1
            loads.append(load(host, port, process, photos, clients, (last and chosen.last) or chosen.requests))
    show(loads)
    failures = [problem for each in loads for problem in each.failures]
    for problem in failures[:10]:
        print(problem)
    if failures or loads[-1].growth > GROWTH:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
