"""Throughput and latency of a model server, beside the same calls made directly in process.

    python serving/load_test.py --server localhost:8500 --model MODELS/qdnet
    python serving/load_test.py --server localhost:8500 --model MODELS/qdnet --loop open --rate 2
    python serving/load_test.py --server localhost:8500 --signatures score_copy --batch 1 8

Closed loop: `--concurrency` clients, each sends its next request when its last is answered. Open
loop: requests arrive at random (a Poisson process) at `--rate` a second whether or not the server
keeps up, and latency counts from the arrival. In process: the same signatures of the same
SavedModel, run by TensorFlow's session loader with as many threads. Rounds of the two alternate,
so that whatever else the machine does hits both; the ratio is that of the throughputs. With
--batch each call holds so many pictures of one size: what a server computes when its batching has
joined the calls of as many clients; of several numbers, the rounds alternate too. Throughput counts
pictures.
"""

import argparse
import itertools
import json
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from workload import Call, InProcess, call_for, closed_loop, newest_version, photograph

from qdnet_keras.client import Client
from qdnet_keras.errors import QDNetError

PICTURES = 6
TARGETS = (30.0, 40.0, 45.0, 50.0, 55.0)
Loop = tuple[list[float], float]  # latencies and duration, seconds


def open_loop(client: Client, calls: Sequence[Call], seconds: float, rate: float) -> Loop:
    """Arrivals are drawn beforehand; at most 256 requests are under way."""
    draw = random.Random(0)
    arrivals, at = [], 0.0
    while (at := at + draw.expovariate(rate)) < seconds:
        arrivals.append(at)
    start = time.perf_counter()

    def work(number: int) -> float:
        call = calls[number % len(calls)]
        client.predict(call.signature, call.inputs)
        return time.perf_counter() - start - arrivals[number]

    with ThreadPoolExecutor(256) as pool:
        pending = []
        for number, arrival in enumerate(arrivals):
            time.sleep(max(0.0, start + arrival - time.perf_counter()))
            pending.append(pool.submit(work, number))
        return [future.result() for future in pending], time.perf_counter() - start


def measure(
    client: Client,
    direct: InProcess | None,
    batches: Sequence[Sequence[Call]],
    options: argparse.Namespace,
) -> list[tuple[list[Loop], list[Loop]]]:
    """For each of `batches` the rounds of the server and those in process, which all alternate."""
    seconds = options.seconds / options.rounds
    for call in itertools.chain(*batches):  # no round pays for the first call of a shape
        client.predict(call.signature, call.inputs)
    if direct:
        direct.answers(list(itertools.chain(*batches)))
    measured: list[tuple[list[Loop], list[Loop]]] = [([], []) for _ in batches]
    for _ in range(options.rounds):
        for calls, (served, in_process) in zip(batches, measured, strict=True):
            if options.loop == "closed":
                served.append(served_loop(client, calls, seconds, options.concurrency))
            else:
                served.append(open_loop(client, calls, seconds, options.rate))
            if direct:
                in_process.append(direct.closed_loop(calls, seconds, options.concurrency))
    return measured


def served_loop(client: Client, calls: Sequence[Call], seconds: float, concurrency: int) -> Loop:
    def work(number: int) -> None:
        call = calls[number % len(calls)]
        client.predict(call.signature, call.inputs)

    return closed_loop(work, seconds, concurrency)


def row(
    signature: str,
    megapixels: float,
    batch: int,
    served: Sequence[Loop],
    in_process: Sequence[Loop],
) -> dict[str, Any]:
    latencies = [latency for loop, _ in served for latency in loop]
    p50, p95, p99 = 1e3 * np.percentile(latencies, [50, 95, 99])
    record = {
        "signature": signature,
        "megapixels": megapixels,
        "batch": batch,
        "calls": len(latencies),
        "per_second": batch * _throughput(served),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
    }
    if in_process:
        record["in_process_per_second"] = batch * _throughput(in_process)
        record["ratio"] = record["per_second"] / record["in_process_per_second"]
    return record


def _throughput(rounds: Sequence[Loop]) -> float:
    return sum(len(loop) for loop, _ in rounds) / sum(duration for _, duration in rounds)


def print_row(record: dict[str, Any]) -> None:
    cells = [f"{record['signature']:<14}", f"{record['megapixels']:>5g}", f"{record['batch']:>6}"]
    cells += [f"{record['calls']:>6}", f"{record['per_second']:>8.2f}"]
    cells += [f"{record[name]:>8.0f}" for name in ("p50_ms", "p95_ms", "p99_ms")]
    if "ratio" in record:
        cells += [f"{record['in_process_per_second']:>11.2f}", f"{record['ratio']:>6.2f}"]
    print(" ".join(cells), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", required=True, metavar="HOST:PORT", help="gRPC port")
    parser.add_argument("--model", type=Path, metavar="DIR", help="for the calls in process")
    parser.add_argument("--loop", choices=["closed", "open"], default="closed")
    parser.add_argument("--concurrency", type=int, default=2, help="clients of a closed loop")
    parser.add_argument("--rate", type=float, default=1.0, help="arrivals a second, open loop")
    parser.add_argument("--seconds", type=float, default=30.0, help="for each line")
    parser.add_argument("--rounds", type=int, default=3, help="that the seconds are split into")
    parser.add_argument("--timeout", type=float, default=120.0, help="of a call, seconds")
    parser.add_argument(
        "--signatures", nargs="+", default=["score_bytes", "enhance_bytes"], metavar="NAME"
    )
    parser.add_argument(
        "--batch", nargs="+", type=int, default=[1], metavar="N", help="pictures in each call"
    )
    parser.add_argument("--megapixels", nargs="+", type=float, default=[0.25, 1.0], metavar="MP")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    direct = InProcess(newest_version(options.model)) if options.model else None
    heading = "signature         MP  batch  calls    per s   p50 ms   p95 ms   p99 ms"
    if not options.json:
        print(heading + ("  in process  ratio" if direct else ""))
    with Client(options.server, timeout=options.timeout) as client:
        for signature in options.signatures:
            for megapixels in options.megapixels:
                batches = [
                    [picture_call(signature, megapixels, seed, batch) for seed in range(PICTURES)]
                    for batch in options.batch
                ]
                measured = measure(client, direct, batches, options)
                for batch, rounds in zip(options.batch, measured, strict=True):
                    record = row(signature, megapixels, batch, *rounds)
                    print(json.dumps(record), flush=True) if options.json else print_row(record)
    if direct:
        direct.close()


def picture_call(signature: str, megapixels: float, seed: int, batch: int) -> Call:
    target = TARGETS[seed % len(TARGETS)]
    return call_for(signature, photograph(megapixels, seed), target, batch)


if __name__ == "__main__":
    try:
        main()
    except QDNetError as error:
        sys.exit(f"error: {error}")
