"""Work that a model server does: the options for it, and many files at a time in their order."""

import functools
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from qdnet_keras.errors import ServerError, ServerUnreachableError

if TYPE_CHECKING:
    from qdnet_keras.client import Client

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Remote:
    """Options for work done by a server, as `with_server_options` adds them to a command."""

    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|URL",
            help="Let this TF-Serving do the work; its model decides instead of the options for "
            "one. URLs: grpc://, grpcs://, http://, https://; the last two may have a path.",
        ),
    ] = None
    rest: Annotated[bool, typer.Option("--rest", help="HOST:PORT speaks REST, not gRPC.")] = False
    model: Annotated[str, typer.Option(help="Name that the server gives the model.")] = "qdnet"
    label: Annotated[
        str | None, typer.Option(help="Version of the server's model, such as stable or canary.")
    ] = None
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that the server may take over a photograph.")
    ] = 60.0
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait at first for a server that is loading.")
    ] = 0.0
    parallel: Annotated[
        int, typer.Option(min=1, max=64, help="Photographs sent to the server at a time.")
    ] = 4
    token: Annotated[
        str | None,
        typer.Option(envvar="QDNET_TOKEN", help="Sent to the server as Authorization: Bearer."),
    ] = None
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:VALUE", help="A further HTTP header, or gRPC metadata."),
    ] = None
    ca_file: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="Certificates that may vouch for it; else the system's."),
    ] = None
    client_cert: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Certificate to show to the server.")
    ] = None
    client_key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Its key, where it is in another file.")
    ] = None

    def connect(self) -> "Client":
        """A client of the server, which has its model loaded if `wait` was asked for.

        Raises:
            typer.BadParameter: An option is malformed.
            ServerError: There is no such server in time.
        """
        from qdnet_keras.client import Client

        try:
            client = Client(
                self.server or "",
                rest=self.rest,
                model=self.model,
                label=self.label,
                timeout=self.timeout,
                token=self.token,
                headers=dict(map(_header, self.header or ())),
                ca_file=self.ca_file,
                cert_file=self.client_cert,
                key_file=self.client_key,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--server") from None
        if self.wait:
            client.wait_until_loaded(self.wait)
        return client


def _header(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    return name.strip(), value.strip()


def with_server_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of `Remote` to a command, whose last parameter `remote` gets them."""
    signature = inspect.signature(command)
    names = [field.name for field in fields(Remote)]

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        options = {name: arguments.pop(name) for name in names}
        command(**arguments, remote=Remote(**options))

    own = [p for p in signature.parameters.values() if p.name != "remote"]
    added = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type
        )
        for field in fields(Remote)
    ]
    run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    return run


def check_server_options(
    context: typer.Context, remote: Remote, local_options: Sequence[str]
) -> None:
    """Refuses options that would do nothing. Raises `typer.BadParameter`.

    Args:
        remote: Those for a server.
        local_options: Names of parameters that a server does not know.
    """
    server_options = [field.name for field in fields(Remote) if field.name != "server"]
    useless = server_options if remote.server is None else local_options
    for name in useless:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(
                "the server's model decides this; leave it out."
                if remote.server is not None
                else "this is for use with --server.",
                param_hint=f"--{name.replace('_', '-')}",
            )


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
