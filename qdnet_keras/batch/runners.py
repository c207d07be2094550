"""Who does the parts: this process, or actors of Ray Data on one machine or many."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from typing import Any, cast

from qdnet_keras.batch.worker import Job, Row, Worker
from qdnet_keras.errors import PresetError, ServerError
from qdnet_keras.files import reason

Part = tuple[int, list[tuple[str, str]]]  # its number, and file and output name of each
Done = tuple[int, list[Row]]
Runner = Callable[[Job, list[Part]], Iterator[Done]]

LOCAL = "local"
STORE = 256 << 20  # bytes of Ray's shared memory on one machine: rows are small


def in_process(job: Job, parts: Iterable[Part]) -> Iterator[Done]:
    """Does one part after the other."""
    worker = Worker(job)
    for index, files in parts:
        yield index, worker.rows(files)


def on_ray(job: Job, parts: list[Part], workers: int, address: str) -> Iterator[Done]:
    """Does parts on Ray Data as they become free, in any order.

    A part whose worker dies is done again by another, as is Ray Data's default. At most a few
    parts for each worker are in memory.

    Args:
        workers: Actors, each with a network of its own.
        address: Of a cluster, such as `host:6379`; `"local"` starts Ray on this machine.

    Raises:
        ServerError: If Ray cannot be started, or no cluster is reached.
        PresetError: If a worker cannot load the preset.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it warns of what Ray Data does
    import ray
    import ray.data

    own: dict[str, Any] = {}
    if address == LOCAL:
        own = {"num_cpus": workers, "object_store_memory": STORE, "include_dashboard": False}
    with redirect_stdout(sys.stderr):  # where Ray would tell of workers that died
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
                **own,
            )
        except Exception as error:
            where = "started" if address == LOCAL else f"reached at {address}"
            raise ServerError(f"Ray cannot be {where} ({reason(error)}).") from error
        try:
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            context.print_on_execution_start = False
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            items = [{"index": index, "files": json.dumps(files)} for index, files in parts]
            done = ray.data.from_items(items, override_num_blocks=len(items)).map(
                cast(Any, _Actor),  # it takes classes too
                fn_constructor_args=(job,),
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
                num_cpus=1,
            )
            for row in done.iter_rows():
                if row["failure"]:
                    raise PresetError(row["failure"])
                yield int(row["index"]), json.loads(row["rows"])
        finally:
            ray.shutdown()


class _Actor:
    def __init__(self, job: Job):
        self.worker = Worker(job)

    def __call__(self, row: Row) -> Row:
        files = [(file, name) for file, name in json.loads(row["files"])]
        try:
            rows, failure = self.worker.rows(files), ""
        except PresetError as error:
            rows, failure = [], str(error)
        return {"index": row["index"], "rows": json.dumps(rows), "failure": failure}
