"""By which settings, and with which further detectors, the logs of one call are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from rlhf_assert.detect.detector_registry import add_detector, added_detectors
from rlhf_assert.detect.settings import Settings, settings_of
from rlhf_assert.recording.run import Run


@dataclass(frozen=True, slots=True)
class Detection:
    """How the logs of one command line are judged.

    A run that rlhf-assert recorded is judged by the settings that it keeps, so that its verdict can be had again
    anywhere; any other log by those of the project. Options go before either.

    Attributes:
        project: what the nearest pyproject.toml sets.
        options: what the command line sets, with the keys of `[tool.rlhf-assert]`.
        sources: where further detectors come from, as `MODULE:NAME` or `FILE.py[::NAME]`.
    """

    project: Settings = field(default_factory=Settings)
    options: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()

    def apply(self, run: Run) -> Run:
        """Return the run with the settings by which it is to be judged.

        Raises:
            UnreadableRun: it keeps settings that this version does not know.
        """
        add_sources(self.sources)  # this may be another process than the one that read the command line
        own = settings_of(run.info) if "detection" in run.info else self.project
        settings = own.changed_by(self.options, "command line")
        return replace(run, info={**run.info, "detection": settings.table()})


@cache
def add_sources(words: tuple[str, ...]) -> None:
    """Add the detectors of `MODULE:NAME` and `FILE.py[::NAME]` words; what is added already stays as it is.

    Raises:
        UsageError: see `find_contenders`; or another detector has the same name.
    """
    if words:
        from rlhf_assert.validation.contenders import find_contenders  # noqa: PLC0415 - only who adds one needs it

        named = find_contenders(words)
        known = added_detectors()  # a file may have decorated what it defines
        for name, spec in named.items():
            if known.get(name) is not spec:
                add_detector(spec, "command line")
