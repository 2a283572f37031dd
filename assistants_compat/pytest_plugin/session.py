"""A run of pytest: its current test, the open cassettes, the errors of recordings and the summary at the end."""

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

from ..recordings.replay import ReplayClockAndIds
from ..runtime import clock, overrides
from ..settings import Settings
from . import vcr_patch
from .http_mocks import is_mock
from .marker import MARKER
from .recorded_test import RecordedTest, RecordingError

if TYPE_CHECKING:
    from .cassette import OpenCassette

_REPORT_ATTRIBUTE = "assistants_compat"  # of a test's report, which pytest-xdist sends to the main process


class Session:
    """The plugin object of one run of pytest; a run inside another (pytester) has its own."""

    def __init__(self, config: pytest.Config) -> None:
        """Start to watch cassettes and to override the settings of wrapped clients."""
        self.config = config
        self.test: RecordedTest | None = None
        self.open_cassettes: list[OpenCassette] = []
        self.fixtures_of_clients: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # by client: the fixture's name
        self.legacy_tests: set[str] = set()
        self.mocked_tests: set[str] = set()
        self.played: dict[str, dict[str, Any]] = {}
        self._harmless = [re.compile(line) for line in config.getini("assistants_compat_harmless")]
        self._stack = ExitStack()
        self._stack.enter_context(vcr_patch.watch_cassettes(self))
        self._stack.enter_context(overrides.override_settings(self._override_settings))
        self._stack.enter_context(overrides.leave_to_client(self._is_mocked))

    def close(self) -> None:
        """Stop at the end of the run."""
        self._stack.close()

    # --- called for each request, and for each cassette

    def _override_settings(self, settings: Settings) -> Settings | None:
        if self.test is not None and self.test.is_off:
            return None
        # None: a recording of the Assistants API replays only if its requests go out unchanged.
        if self.open_cassettes and self.open_cassettes[-1].is_legacy:
            return None
        return settings if self.test is None or not self.test.is_managed else self.test.settings_from(settings)

    def _is_mocked(self, request: Any, http_client: Any) -> bool:
        return self.test is not None and self.test.is_mocked(request, http_client)

    def cassette_opened(self, cassette: Any) -> Callable[[], None]:
        """Start to play a cassette; the returned function ends it."""
        from .cassette import OpenCassette  # noqa: PLC0415 - needs VCR.py, which is imported by now

        open_cassette = OpenCassette(cassette)
        test = self.test
        if test is not None:
            test.cassette_opened(open_cassette, self._harmless)
        self.open_cassettes.append(open_cassette)
        stack = ExitStack()
        if open_cassette.replay_data:
            source = ReplayClockAndIds(open_cassette.replay_data, on_request=open_cassette.library_used)
            stack.enter_context(clock.replace_current(source))

        def on_close() -> None:
            stack.close()
            self.open_cassettes.remove(open_cassette)
            if test is not None:
                test.cassette_closed(open_cassette)

        return on_close

    def request_refused(self, error: Exception) -> None:
        """Note a request of the test that VCR.py cannot play."""
        if self.test is not None and self.open_cassettes and not self.open_cassettes[-1].is_legacy:
            self.test.request_refused(error, self.open_cassettes[-1])

    # --- one test

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Give a managed test its own store, ids and clock, from its first fixture to its last."""
        self.test = RecordedTest(item, may_be_partly_played=self.config.getini("assistants_compat_partly_played"))
        try:
            with self.test:
                # Clients of fixtures with a wider scope were made before this test.
                for client, fixture in list(self.fixtures_of_clients.items()):
                    if self.test.wraps_clients_of(fixture):
                        self.test.wrap(client)
                return (yield)
        finally:
            self.test = None

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, object, object]:
        """Wrap the clients that the fixtures of a managed test make."""
        value = yield
        if self.test is not None and is_mock(value):
            self.test.mocks.append(value)
        if self.test is not None and _is_client(value):
            self.fixtures_of_clients.setdefault(
                value, fixturedef.argname
            )  # a second fixture may return the same client
            if self.test.wraps_clients_of(fixturedef.argname):
                self.test.wrap(value)
        return value

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Show VCR.py's message for a request of a fixture that cannot be played."""
        __tracebackhide__ = True
        return (yield from self._raise_playback_errors(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Show VCR.py's message for a request of the test that cannot be played."""
        __tracebackhide__ = True
        return (yield from self._raise_playback_errors(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Fail the test for unplayed requests and for secrets, once its fixtures have closed all cassettes."""
        __tracebackhide__ = True
        result = yield from self._raise_playback_errors(item)
        if self.test is not None:
            self.test.check_cassettes()
        return result

    def _raise_playback_errors(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        test = self.test
        try:
            result = yield
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as error:
            # The SDK turns VCR.py's error into "Connection error", which hides the cause.
            if test is not None and (playback_error := test.playback_error(failed=True)) is not None:
                raise playback_error.with_traceback(_trim_traceback(error.__traceback__, item)) from None
            raise
        # The test may have caught the error of the SDK.
        if test is not None and (playback_error := test.playback_error(failed=False)) is not None:
            raise playback_error.with_traceback(_trim_traceback(playback_error.__traceback__, item))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Generator[None, Any, pytest.TestReport]:
        """Note whether the test passed, and attach what it played to its report."""
        report: pytest.TestReport = yield
        if self.test is not None:
            if call.when == "call":
                self.test.has_passed = report.passed
            elif call.when == "teardown":
                setattr(report, _REPORT_ATTRIBUTE, self.test.report())
        return report

    # --- the end

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect what the tests played, here or in the workers of pytest-xdist."""
        test_report: dict[str, Any] = getattr(report, _REPORT_ATTRIBUTE, {})
        if test_report.get("is_legacy"):
            self.legacy_tests.add(report.nodeid)
        if test_report.get("is_mocked"):
            self.mocked_tests.add(report.nodeid)
        for path, cassette in test_report.get("played", {}).items():
            entry = self.played.setdefault(path, {"requests": cassette["requests"], "unplayed": cassette["unplayed"]})
            # Several tests may use one cassette: a request counts as unplayed only if none of them made it.
            entry["unplayed"] = [index for index in entry["unplayed"] if index in cassette["unplayed"]]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print how many tests use recordings or mocks of the Assistants API, and write the file of played requests."""
        if self.legacy_tests:
            tests = "1 test still uses" if len(self.legacy_tests) == 1 else f"{len(self.legacy_tests)} tests still use"
            terminalreporter.write_line(f"assistants_compat: {tests} recordings of the Assistants API")
        if self.mocked_tests:
            tests = "1 test mocks" if len(self.mocked_tests) == 1 else f"{len(self.mocked_tests)} tests mock"
            terminalreporter.write_line(f"assistants_compat: {tests} the Assistants API, and the mock answered there")
        target: Path | None = self.config.getoption("--assistants-compat-played")
        if target is not None:
            target.write_text(json.dumps({"cassettes": self.played}, indent=1), encoding="utf-8")

    # --- fixtures

    def switch_off(self) -> None:
        """Switch the library off until the end of the test."""
        assert self.test is not None  # noqa: S101 - a fixture runs within a test
        self.test.switch_off()

    def client(self, request: pytest.FixtureRequest, *, asynchronous: bool) -> Any:
        """Return the suite's client of this kind, or a new client of the stand-in if the test uses that."""
        import openai  # noqa: PLC0415 - a suite that uses no client may not have it installed

        client_class = openai.AsyncOpenAI if asynchronous else openai.OpenAI
        if "assistants_compat_upstream" in request.fixturenames:
            upstream = request.getfixturevalue("assistants_compat_upstream")
            client: Any = client_class(base_url=upstream.base_url, api_key="stand-in", max_retries=0)
            assert self.test is not None  # noqa: S101 - a fixture runs within a test
            self.test.wrap(client)
            return client
        marker = request.node.get_closest_marker(MARKER)
        names = (marker.args if marker else ()) or self.config.getini("assistants_compat_clients")
        for name in names:
            try:
                value = request.getfixturevalue(name)
            except pytest.FixtureLookupError:
                continue
            if isinstance(value, client_class):
                return value
        message = (
            f"None of the fixtures {', '.join(names)} returns an {client_class.__name__} client. Name a fixture that "
            f"does in the ini option assistants_compat_clients or in the marker {MARKER}."
        )
        raise RecordingError(message)


def _is_client(value: object) -> bool:
    openai = sys.modules.get("openai")
    return openai is not None and isinstance(value, (openai.OpenAI, openai.AsyncOpenAI))


def _trim_traceback(trace: TracebackType | None, item: pytest.Item) -> TracebackType | None:
    """Return a traceback that ends in the test's file, without the frames of the SDK and of VCR.py behind it."""
    steps = []
    while trace is not None:
        steps.append(trace)
        trace = trace.tb_next
    while steps and steps[-1].tb_frame.f_code.co_filename != str(item.path):
        steps.pop()
    trimmed: TracebackType | None = None
    for step in reversed(steps):
        trimmed = TracebackType(trimmed, step.tb_frame, step.tb_lasti, step.tb_lineno)
    return trimmed
