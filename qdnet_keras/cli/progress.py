"""Progress bars on stderr, where it is a terminal."""

from types import TracebackType
from typing import Any


class Progress:
    """One bar for each thing that is being worked on; it goes away when that is done."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        console = Console(stderr=True)
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.tasks: dict[str, Any] = {}

    def pictures(self, name: str, done: int, total: int) -> None:
        """Features of `done` of `total` pictures are known."""
        self._show(f"{name}: pictures", done, total)

    def splits(self, name: str, done: int, total: int) -> None:
        """Predictions for `done` of `total` splits are known."""
        self._show(f"{name}: splits", done, total)

    def renderings(self, name: str, done: int, total: int) -> None:
        """`done` of `total` renderings are made."""
        self._show(f"{name}: renderings", done, total)

    def _show(self, label: str, done: int, total: int) -> None:
        if label not in self.tasks:
            self.tasks[label] = self.bars.add_task(label, total=total)
        self.bars.update(self.tasks[label], completed=done, total=total)
        if done == total:
            self.bars.remove_task(self.tasks.pop(label))

    def __enter__(self) -> "Progress":
        self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bars.stop()
