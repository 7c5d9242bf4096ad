"""Progress that a person can read: a live bar on a terminal, a line per stage elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

LINE_EVERY_SECONDS = 30.0


class _Rate(ProgressColumn):
    """Work done per second, in the stage's unit."""

    def render(self, task: Task) -> Text:
        done, elapsed = task.fields.get("work", 0.0), task.elapsed or 0.0
        return Text(rate(done, elapsed) if done and elapsed else "", style="cyan")


class Bar:
    """The progress of one stage: shards done of all, bytes of text so far."""

    def __init__(self, name: str, shards: int, n_bytes: int, bars: Bars | None, console: Console | None) -> None:
        self._name, self._shards, self._all = name, shards, n_bytes
        self._bars, self._console = bars, console
        self._done, self._bytes, self._began, self._spoke = 0, 0, time.monotonic(), time.monotonic()
        # Bytes weigh shards of different size rightly; shards are shown because they are what is committed.
        self._task = bars.add_task(name, total=max(n_bytes, 1), work=0.0, shards=f"0/{shards}", detail="") if bars else None

    def shard_done(self, n_bytes: int) -> None:
        """One more shard is committed."""
        self._done += 1
        self._bytes += n_bytes
        self._show(float(self._bytes), "")

    def in_work(self, n_bytes: float, detail: str) -> None:
        """How much is done of the shards that are not committed yet, and a few words about them."""
        self._show(min(self._bytes + n_bytes, float(self._all)), detail)

    def _show(self, n_bytes: float, detail: str) -> None:
        if self._bars and self._task is not None:
            self._bars.update(self._task, completed=n_bytes, work=n_bytes, shards=f"{self._done}/{self._shards}", detail=detail)
        elif self._console and time.monotonic() - self._spoke > LINE_EVERY_SECONDS:
            self._spoke = time.monotonic()
            elapsed = self._spoke - self._began
            left = (
                f"{rate(n_bytes, elapsed)}, {elapsed * (self._all - n_bytes) / n_bytes:.0f} s left"
                if n_bytes
                else f"{elapsed:.0f} s so far"
            )
            said = detail or left
            self._console.print(f"{self._name}: {self._done}/{self._shards} shards, {said}", highlight=False)

    @property
    def seconds(self) -> float:
        """Since the stage began."""
        return time.monotonic() - self._began

    @property
    def bytes_done(self) -> int:
        """Text bytes passed through in this run."""
        return self._bytes


class Progress:
    """Shows stages as they run. Silent when told to be."""

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self.console = console or Console(file=sys.stderr)
        self.quiet = quiet

    @contextmanager
    def stage(self, name: str, shards: int, n_bytes: int, skipped: int = 0) -> Iterator[Bar]:
        """A bar for one stage.

        Args:
            shards: still to do.
            n_bytes: text bytes they hold.
            skipped: shards committed by an earlier run.
        """
        if self.quiet:
            yield Bar(name, shards, n_bytes, None, None)
            return
        live = self.console.is_terminal
        columns = (
            TextColumn("[bold]{task.description:<22}"), BarColumn(bar_width=24), TextColumn("{task.fields[shards]} shards"),
            _Rate(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[detail]}", style="dim"),
        )  # fmt: skip
        with Bars(*columns, console=self.console, transient=True, disable=not live) as bars:
            bar = Bar(name, shards, n_bytes, bars if live else None, self.console)
            yield bar
        kept = f", {skipped} kept from before" if skipped else ""
        self.console.print(
            f"[green]✓[/] {name:<22} {shards} shards{kept}  {rate(bar.bytes_done, bar.seconds)}  {bar.seconds:.1f} s", highlight=False
        )

    def note(self, text: str) -> None:
        """One line for the reader."""
        if not self.quiet:
            self.console.print(text, highlight=False)


def rate(n_bytes: float, seconds: float) -> str:
    """Bytes a second for people."""
    return f"{n_bytes / 1e6 / seconds:,.1f} MB/s" if n_bytes and seconds > 0 else ""
