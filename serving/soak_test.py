"""A model server under full load, hostile requests among the good ones, its memory watched.

    python serving/soak_test.py MODELS/qdnet --minutes 10
    python serving/soak_test.py MODELS/qdnet --minutes 3 --kill-every 40

Starts the server (by default `qdnet-keras serve`; --command for another, such as
`tensorflow_model_server`), sends good requests from several clients at once and checks each answer
against the same model run directly in process. One request in a hundred is hostile and must be
refused; each kind of these is also sent once, spread over the time. With --kill-every the server is
killed (SIGKILL) and started again that often, and no good request may be lost. Exits with 1 if an
answer was wrong or lost, something hostile was answered, or the server ended by itself.
"""

import argparse
import collections
import json
import random
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from attacker import GIVEN_UP, REFUSALS, Attacker
from hostile import FILES
from workload import Arrays, Call, InProcess, call_for, newest_version, photograph

from qdnet_keras.client import Client
from qdnet_keras.errors import ServerError
from qdnet_keras.photos.files import read_photo

SERVE = "{python} -m qdnet_keras serve {model} --port {port} --rest-port {rest_port}"
READY_SECONDS = 600
ENHANCE_SHARE = 0.2
SCORE_TOLERANCE = 1e-3  # MOS
PIXEL_TOLERANCE = 1


class Server:
    """The server's process, its end noticed and its memory sampled every second."""

    def __init__(self, command: str, port: int, rest_port: int):
        self.command, self.address = shlex.split(command), f"127.0.0.1:{port}"
        self.port, self.rest_port = port, rest_port
        self.samples: list[tuple[float, float]] = []  # seconds since the start, MB
        self.kills = self.deaths = 0
        self._finished = threading.Event()
        self._lock = threading.Lock()
        self._process = self._start()
        self._started = time.monotonic()
        threading.Thread(target=self._watch, daemon=True).start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command, stdout=sys.stderr)

    def kill_and_restart(self) -> None:
        with self._lock:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self.kills += 1
            self._process = self._start()

    def stop(self) -> None:
        self._finished.set()
        with self._lock:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def _watch(self) -> None:
        while not self._finished.wait(1.0):
            with self._lock:
                if self._process.poll() is not None:
                    self.deaths += 1
                    self._process = self._start()
                self.samples.append((time.monotonic() - self._started, self._megabytes()))

    def _megabytes(self) -> float:
        try:
            parent = psutil.Process(self._process.pid)
            family = [parent, *parent.children(recursive=True)]
            return sum(process.memory_info().rss for process in family) / 1e6
        except psutil.Error:
            return float("nan")


class Tally:
    """Counts of what came back."""

    def __init__(self) -> None:
        self.good = 0
        self.wrong: list[str] = []
        self.lost: list[str] = []
        self.latencies: list[float] = []
        self.largest_error = 0.0
        self.hostile: dict[str, collections.Counter[str]] = {}
        self._lock = threading.Lock()

    def answered(self, answer: Arrays, expected: Arrays, seconds: float) -> None:
        error = largest_error(answer, expected)
        with self._lock:
            self.good += 1
            self.latencies.append(seconds)
            self.largest_error = max(self.largest_error, error)
            if error > 1.0:
                self.wrong.append(f"{error:.3g} times the tolerance")

    def failed(self, error: ServerError) -> None:
        with self._lock:
            self.lost.append(str(error))

    def refused(self, kind: str, code: str) -> None:
        with self._lock:
            self.hostile.setdefault(kind, collections.Counter())[code] += 1


def largest_error(answer: Arrays, expected: Arrays) -> float:
    """Largest difference of two answers, in units of its tolerance."""
    errors = [0.0]
    for name, wanted in expected.items():
        if name == "image_bytes":
            ours, theirs = (
                read_photo(data[0]).pixels.astype(int) for data in (answer[name], wanted)
            )
            same_size = ours.shape == theirs.shape
            errors.append(np.abs(ours - theirs).max() / PIXEL_TOLERANCE if same_size else np.inf)
        elif name != "reached":
            errors.append(float(np.abs(answer[name] - wanted).max()) / SCORE_TOLERANCE)
    return max(errors)


def good_calls(smallest: float, largest: float, count: int = 10) -> list[Call]:
    """Pictures of so many megapixels in many shapes, and one that a graph once scored otherwise."""
    sizes = np.geomspace(smallest, largest, count)
    calls = []
    for seed, megapixels in enumerate(sizes):
        signature = "enhance_bytes" if seed < ENHANCE_SHARE * count else "score_bytes"
        calls.append(call_for(signature, photograph(float(megapixels), seed), 35.0 + 2 * seed))
    unlucky = np.array([(FILES / "eq3.png").read_bytes()], np.object_)
    return [*calls, Call("score_bytes", {"image_bytes": unlucky})]


def send_good(
    client: Client, calls: list[Call], expected: list[Arrays], number: int, tally: Tally
) -> None:
    call, wanted = calls[number % len(calls)], expected[number % len(calls)]
    begun = time.monotonic()
    try:
        answer = client.predict(call.signature, call.inputs)
    except ServerError as error:
        tally.failed(error)
    else:
        tally.answered(answer, wanted, time.monotonic() - begun)


def run_load(
    server: Server, calls: list[Call], expected: list[Arrays], options: argparse.Namespace
) -> Tally:
    """Threads that send requests until the time is up."""
    tally = Tally()
    attacker = Attacker(server.port, server.rest_port)
    kinds = sorted(attacker.attacks)
    pause = 60 * options.minutes / len(kinds)
    end = time.monotonic() + 60 * options.minutes

    def attack(kind: str) -> None:
        tally.refused(kind, attacker.attacks[kind]())

    def each_kind() -> None:
        for kind in kinds:
            attack(kind)
            time.sleep(max(0.0, min(pause, end - time.monotonic())))

    def loop(thread: int) -> None:
        draw = random.Random(thread)
        number = thread
        while time.monotonic() < end:
            if draw.random() < options.hostile:
                attack(draw.choice(kinds))
            else:
                send_good(client, calls, expected, number, tally)
                number += options.concurrency

    with Client(server.address, timeout=options.timeout) as client:
        threads = [threading.Thread(target=loop, args=(n,)) for n in range(options.concurrency)]
        threads.append(threading.Thread(target=each_kind))
        for thread in threads:
            thread.start()
        _wait(end, options.kill_every, server.kill_and_restart, tally)
        for thread in threads:
            thread.join()
    attacker.close()
    return tally


def _wait(end: float, every: float | None, then: Callable[[], None], tally: Tally) -> None:
    """Until the end; tells each minute how it goes."""
    began = told = killed = time.monotonic()
    while (now := time.monotonic()) < end:
        time.sleep(min(1.0, max(0.0, end - now)))
        if every and now - killed >= every and end - now > every / 2:
            then()
            killed = now
        if now - told >= 60:
            told = now
            counts = f"{tally.good} good, {len(tally.wrong)} wrong, {len(tally.lost)} lost"
            print(f"{(now - began) / 60:.0f} min: {counts}", file=sys.stderr, flush=True)


def memory(samples: list[tuple[float, float]], warm_up: float) -> dict[str, float]:
    """Megabytes after the warm-up: level in its first and last quarter, trend and peak."""
    rows = np.array([sample for sample in samples if np.isfinite(sample[1])])
    rows = rows[rows[:, 0] >= rows[0, 0] + warm_up]
    if len(rows) < 8:
        return {}
    quarter = len(rows) // 4
    slope, _ = np.polyfit(rows[:, 0] / 60, rows[:, 1], 1)
    return {
        "first_quarter_mb": float(np.median(rows[:quarter, 1])),
        "last_quarter_mb": float(np.median(rows[-quarter:, 1])),
        "trend_mb_per_minute": float(slope),
        "peak_mb": float(rows[:, 1].max()),
    }


def report(server: Server, tally: Tally, options: argparse.Namespace) -> dict[str, Any]:
    p50, p99 = np.percentile(tally.latencies or [np.nan], [50, 99])
    answered = sum(codes["OK"] for codes in tally.hostile.values())
    return {
        "minutes": options.minutes,
        "good": tally.good,
        "wrong": len(tally.wrong),
        "lost": len(tally.lost),
        "first_problems": [*tally.wrong, *tally.lost][:5],
        "largest_error": tally.largest_error,
        "per_second": tally.good / (60 * options.minutes),
        "p50_s": float(p50),
        "p99_s": float(p99),
        "hostile": {kind: dict(codes) for kind, codes in sorted(tally.hostile.items())},
        "hostile_answered": answered,
        "kills": server.kills,
        "deaths": server.deaths,
        "memory": memory(server.samples, 60 * options.minutes * options.warm_up),
    }


def passed(record: dict[str, Any]) -> bool:
    codes = {code for counts in record["hostile"].values() for code in counts}
    allowed = REFUSALS | {GIVEN_UP} | ({"UNAVAILABLE"} if record["kills"] else set())
    return (
        record["good"] > 0
        and codes <= allowed
        and not (record["wrong"] or record["lost"] or record["deaths"])
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="folder of the model's versions")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--concurrency", type=int, default=4, help="requests under way")
    parser.add_argument("--hostile", type=float, default=0.01, help="share of hostile requests")
    parser.add_argument(
        "--megapixels", nargs=2, type=float, default=[0.06, 0.5], metavar=("MIN", "MAX")
    )
    parser.add_argument("--kill-every", type=float, metavar="SECONDS")
    parser.add_argument("--timeout", type=float, default=120.0, help="of a good request, seconds")
    parser.add_argument("--warm-up", type=float, default=0.2, help="share of the time")
    parser.add_argument(
        "--command",
        default=SERVE,
        help="starts the server; {python}, {model}, {name}, {port} and {rest_port} are filled in",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends too
    options = arguments()
    calls = good_calls(*options.megapixels)
    direct = InProcess(newest_version(options.model))
    expected = direct.answers(calls)
    direct.close()
    ports = {"port": free_port(), "rest_port": free_port()}
    places = {"python": sys.executable, "model": options.model.resolve()}
    command = options.command.format(**places, name=options.model.name, **ports)
    server = Server(command, **ports)
    try:
        with Client(server.address, timeout=READY_SECONDS, connect_timeout=READY_SECONDS) as client:
            for call in calls:  # a first call of each shape takes longer
                client.predict(call.signature, call.inputs)
        tally = run_load(server, calls, expected, options)
    finally:
        server.stop()
    record = report(server, tally, options)
    if options.json:
        print(json.dumps(record))
    else:
        for name, value in record.items():
            print(f"{name:<18}{value:.4g}" if isinstance(value, float) else f"{name:<18}{value}")
    return 0 if passed(record) else 1


if __name__ == "__main__":
    sys.exit(main())
