"""A run of pytest: which test is on, what it plays, what went wrong with that, and what is said at the end."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pytest

from ..recordings.replay import Replayed
from ..runtime import clock, overrides
from ..settings import Settings
from . import MARKER, vcr_patch
from .recorded_test import RecordingError, Test

if TYPE_CHECKING:
    from .cassette import Playing

_REPORTED = "assistants_compat"  # an attribute of a test's report, which pytest-xdist hands on


class Session:
    """The plugin of one run; a run within another (pytester) has its own."""

    def __init__(self, config: pytest.Config) -> None:
        """Watch cassettes, and say what wrapped clients do meanwhile."""
        self.config = config
        self.test: Test | None = None
        self.open: list[Playing] = []
        self.clients: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # each with the fixture that gave it
        self.old: set[str] = set()
        self.played: dict[str, dict[str, Any]] = {}
        self._harmless = [re.compile(line) for line in config.getini("assistants_compat_harmless")]
        self._stack = ExitStack()
        self._stack.enter_context(vcr_patch.watched(self))
        self._stack.enter_context(overrides.chosen(self._settings))

    def close(self) -> None:
        """The run is over."""
        self._stack.close()

    # --- what is asked at each request, and told of each cassette

    def _settings(self, given: Settings) -> Settings | None:
        if self.open and self.open[-1].is_old:
            return None
        return given if self.test is None or not self.test.is_ours else self.test.settings(given)

    def entered(self, cassette: Any) -> Callable[[], None]:
        """A cassette begins to play."""
        from .cassette import Playing  # noqa: PLC0415 - needs VCR.py, which is there now

        playing = Playing(cassette)
        test = self.test
        if test is not None:
            test.plays(playing, self._harmless)
        self.open.append(playing)
        stack = ExitStack()
        if playing.key:
            stack.enter_context(clock.exchanged(Replayed(playing.key)))

        def left() -> None:
            stack.close()
            self.open.remove(playing)
            if test is not None:
                test.has_played(playing)

        return left

    def refused(self, error: Exception) -> None:
        """A request of the test cannot be played."""
        if self.test is not None and self.open and not self.open[-1].is_old:
            self.test.refused.append(error)

    # --- one test

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """A test of ours has a store, ids and a clock of its own, from its first fixture to its last."""
        self.test = Test(item, may_be_partly_played=self.config.getini("assistants_compat_partly_played"))
        try:
            with self.test:
                for client, fixture in list(self.clients.items()):
                    if self.test.wraps(fixture):
                        self.test.wrap(client)
                return (yield)
        finally:
            self.test = None

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, object, object]:
        """Wrap the clients that the fixtures of a test of ours make."""
        value = yield
        if self.test is not None and _is_client(value):
            self.clients.setdefault(value, fixturedef.argname)  # another fixture may hand it on
            if self.test.wraps(fixturedef.argname):
                self.test.wrap(value)
        return value

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """A fixture's request that cannot be played is said in its own words."""
        __tracebackhide__ = True
        return (yield from self._said(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """So is one of the test."""
        __tracebackhide__ = True
        return (yield from self._said(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """When all fixtures are gone, so are the cassettes: what nobody played, and secrets, fail the test."""
        __tracebackhide__ = True
        done = yield from self._said(item)
        if self.test is not None:
            self.test.end()
        return done

    def _said(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        test = self.test
        try:
            done = yield
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as error:
            if test is not None and (said := test.refusal()) is not None:
                raise said.with_traceback(_until(error.__traceback__, item)) from None
            raise
        if test is not None and (said := test.refusal()) is not None:
            raise said.with_traceback(_until(said.__traceback__, item))
        return done

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Generator[None, Any, pytest.TestReport]:
        """Remember whether it passed, and send what it played to whoever sums up."""
        report: pytest.TestReport = yield
        if self.test is not None:
            if call.when == "call":
                self.test.has_passed = report.passed
            elif call.when == "teardown":
                setattr(report, _REPORTED, self.test.report())
        return report

    # --- the end

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather what the tests played, here or in the workers of pytest-xdist."""
        told: dict[str, Any] = getattr(report, _REPORTED, {})
        if told.get("old"):
            self.old.add(report.nodeid)
        for path, cassette in told.get("played", {}).items():
            entry = self.played.setdefault(path, {"requests": cassette["requests"], "unplayed": cassette["unplayed"]})
            entry["unplayed"] = [index for index in entry["unplayed"] if index in cassette["unplayed"]]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say how many tests still stand on recordings of the old service; write what was played."""
        if self.old:
            tests = "1 test still stands" if len(self.old) == 1 else f"{len(self.old)} tests still stand"
            terminalreporter.write_line(f"assistants_compat: {tests} on recordings of the old Assistants API")
        target: Path | None = self.config.getoption("--assistants-compat-played")
        if target is not None:
            target.write_text(json.dumps({"cassettes": self.played}, indent=1), encoding="utf-8")

    # --- what the fixtures give

    def client(self, request: pytest.FixtureRequest, *, asynchronous: bool) -> Any:
        """The suite's client of this kind; a new one of the stand-in where the test has that."""
        import openai  # noqa: PLC0415 - a suite that asks for no client may have none

        kind = openai.AsyncOpenAI if asynchronous else openai.OpenAI
        if "assistants_compat_upstream" in request.fixturenames:
            upstream = request.getfixturevalue("assistants_compat_upstream")
            client: Any = kind(base_url=upstream.base_url, api_key="stand-in", max_retries=0)
            assert self.test is not None  # noqa: S101 - a fixture belongs to a test
            self.test.wrap(client)
            return client
        marker = request.node.get_closest_marker(MARKER)
        names = (marker.args if marker else ()) or self.config.getini("assistants_compat_clients")
        for name in names:
            try:
                value = request.getfixturevalue(name)
            except pytest.FixtureLookupError:
                continue
            if isinstance(value, kind):
                return value
        message = (
            f"No fixture of {', '.join(names)} gives an {kind.__name__} client: name yours in the ini option "
            f"assistants_compat_clients, or in the marker {MARKER}."
        )
        raise RecordingError(message)


def _is_client(value: object) -> bool:
    openai = sys.modules.get("openai")
    return openai is not None and isinstance(value, (openai.OpenAI, openai.AsyncOpenAI))


def _until(trace: TracebackType | None, item: pytest.Item) -> TracebackType | None:
    """A traceback that ends in the file of the test: what the SDK and the recorder did beyond it helps nobody."""
    steps = []
    while trace is not None:
        steps.append(trace)
        trace = trace.tb_next
    while steps and steps[-1].tb_frame.f_code.co_filename != str(item.path):
        steps.pop()
    shown: TracebackType | None = None
    for step in reversed(steps):
        shown = TracebackType(shown, step.tb_frame, step.tb_lasti, step.tb_lineno)
    return shown
