"""Work that a model server does: the options for it, and many files at a time in their order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import typer

from qdnet_keras.cli.common import SERVER_OPTIONS
from qdnet_keras.errors import ServerError, ServerUnreachableError

if TYPE_CHECKING:
    from qdnet_keras.client import Client

Item = TypeVar("Item")
Result = TypeVar("Result")


def check_server_options(
    context: typer.Context, server: str | None, local_options: Sequence[str]
) -> None:
    """Refuses options that would do nothing. Raises `typer.BadParameter`.

    Args:
        server: `--server`.
        local_options: Names of parameters that a server does not know.
    """
    useless = local_options if server else SERVER_OPTIONS
    for name in useless:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(
                "the server's model decides this; leave it out."
                if server
                else "this is for use with --server.",
                param_hint=f"--{name.replace('_', '-')}",
            )


def connect(server: str, rest: bool, label: str | None, timeout: float) -> "Client":
    """A client of the server that the options name. Raises `typer.BadParameter`."""
    from qdnet_keras.client import Client

    try:
        return Client(server, rest=rest, label=label, timeout=timeout)
    except ValueError:
        raise typer.BadParameter(f"{server!r} is not HOST:PORT.", param_hint="--server") from None


@contextmanager
def naming(file: str) -> Iterator[None]:
    """Puts the file's name in front of what a server says about it."""
    try:
        yield
    except ServerUnreachableError:
        raise
    except ServerError as error:
        raise ServerError(f"{file}: {error}") from None


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], parallel: int
) -> Iterator[Result]:
    """Results of `work` for each item, in the order of the items.

    At most `parallel` items are worked on at a time, and twice as many are held. One at a time,
    the work is done in this thread, when its result is asked for.
    """
    if parallel == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(parallel)
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) == 2 * parallel:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
