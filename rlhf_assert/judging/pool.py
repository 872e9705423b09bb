"""Judging several logs at once, in processes where that pays, with progress on a terminal."""

from __future__ import annotations

import multiprocessing
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import click

from rlhf_assert.judging.answers import Answer, Tell, answer, unreadable
from rlhf_assert.judging.detection import Detection
from rlhf_assert.report.layout import cut
from rlhf_assert.resources.sampler import usable_cores

WORTH_FILES = 16
WORTH_BYTES = 8 * 2**20
"""Fewer and smaller files than these are judged before further processes have started."""

MOST_PROCESSES = 8
SILENT_SECONDS = 0.5


def judge_all(
    paths: Sequence[str], tell: Tell | None, detection: Detection | None = None, *, alone: bool
) -> list[list[Answer]]:
    """Return the answers for each path, in the order of the paths; see `answer`."""
    processes = min(usable_cores(), len(paths), MOST_PROCESSES)
    begun = time.monotonic()
    with _progress_line() as show:
        if processes > 1 and (len(paths) >= WORTH_FILES or sum(map(_size, paths)) >= WORTH_BYTES):
            by_index = dict(_in_processes(paths, tell, detection, processes, alone=alone, show=show, begun=begun))
            return [by_index[index] for index in range(len(paths))]
        answers = []
        for index, path in enumerate(paths):
            if time.monotonic() - begun > SILENT_SECONDS or _size(path) >= WORTH_BYTES:
                show(f"{index + 1}/{len(paths)}  {path}")
            answers.append(answer(path, tell, detection, alone=alone))
        return answers


def _in_processes(
    paths: Sequence[str],
    tell: Tell | None,
    detection: Detection | None,
    processes: int,
    *,
    alone: bool,
    show: _Show,
    begun: float,
) -> Iterator[tuple[int, list[Answer]]]:
    lost = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy's idle threads; the fork itself runs none of them
        with _pool(processes) as pool:
            futures: dict[Future[list[Answer]], int] = {
                pool.submit(answer, path, tell, detection, alone=alone): index for index, path in enumerate(paths)
            }
            for done, future in enumerate(as_completed(futures), start=1):
                index = futures[future]
                if time.monotonic() - begun > SILENT_SECONDS:
                    show(f"{done}/{len(paths)}  {paths[index]}")
                try:
                    yield index, future.result()
                except BrokenProcessPool:
                    lost.append(index)
        for index in lost:  # one process that dies takes down the pool, and with it logs that are not to blame
            with _pool(1) as pool:
                try:
                    yield index, pool.submit(answer, paths[index], tell, detection, alone=alone).result()
                except BrokenProcessPool:
                    yield index, [unreadable(paths[index], "the process that judged it was killed: out of memory?")]


def _pool(processes: int) -> ProcessPoolExecutor:
    # A forked process has all imports already; where there is no fork, the default method serves.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    return ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context(method))


class _Show:
    """Shows one line on stderr, over the last one; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self.shown = False
        self._terminal = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._terminal:
            self.shown = True
            click.echo(f"\r\x1b[K{cut(text, 78)}", nl=False, err=True)


@contextmanager
def _progress_line() -> Iterator[_Show]:
    show = _Show()
    try:
        yield show
    finally:
        if show.shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
