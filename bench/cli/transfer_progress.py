"""How far a download is: a bar on a terminal, nothing elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class TransferProgress:
    """Follows files that are fetched one after the other; use it as a context manager.

    Args:
        out: The console of the bar; where it is no terminal nothing is shown.
    """

    def __init__(self, out: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            DownloadColumn(binary_units=True),
            TimeRemainingColumn(),
            console=out,
            transient=True,
            disable=not out.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def told(self, name: str, here: int, size: int) -> None:
        """Hear how far a file is; one that is whole leaves the bar."""
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=size)
        self._bar.update(self._tasks[name], completed=here, visible=here < size)
