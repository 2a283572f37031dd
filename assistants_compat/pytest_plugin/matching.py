"""How requests match recorded ones: the library's own by method, URL and body, the suite's as the suite says.

One cassette may hold both. A suite's own `match_on` also counts for the library's requests.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from vcr.matchers import raw_body

from ..recordings import scrub
from ..runtime.overrides import is_own_request

_Matcher = Callable[[Any, Any], Any]  # of two requests; raises `AssertionError` or returns False if they differ
_BODY_MATCHERS = {"body", "raw_body"}
_URL_MATCHERS = {"uri", "url", "host", "query"}


class Matchers(Iterable[_Matcher]):
    """The matchers of a cassette, in the form that VCR.py takes; who sends the request decides which they are."""

    def __init__(self, configured: Iterable[_Matcher], *, is_default: bool) -> None:
        """Keep the suite's matchers; `is_default` says that the suite did not choose them."""
        configured = list(configured)
        self._for_suite = [_suite_matcher(matcher) for matcher in configured]
        # VCR.py's defaults do not compare bodies.
        chosen = [_match_method, _match_uri, _match_body] if is_default else configured
        self._for_library = [self._library_matcher(matcher) for matcher in chosen]
        self._scrubbed: dict[int, tuple[Any, Any]] = {}  # by the id of a recorded request: it, and its scrubbed copy

    def __iter__(self) -> Iterator[_Matcher]:
        """Return the matchers of the request that is being sent."""
        return iter(self._for_library if is_own_request() else self._for_suite)

    def _library_matcher(self, matcher: _Matcher) -> _Matcher:
        compare = _match_body if matcher.__name__ in _BODY_MATCHERS else matcher

        def match(request: Any, recorded: Any) -> Any:
            return compare(request, self._scrub_once(recorded))

        return _named(match, matcher)

    def _scrub_once(self, recorded: Any) -> Any:
        # The library's requests are scrubbed before they are compared, but another tool may have recorded these.
        if id(recorded) not in self._scrubbed:
            self._scrubbed[id(recorded)] = recorded, scrub_request(copy.deepcopy(recorded))
        return self._scrubbed[id(recorded)][1]


def scrub_request(request: Any) -> Any:
    """Scrub a request (`vcr.request.Request`) in place, and return it."""
    request.uri = scrub.scrub_url(request.uri)
    headers = scrub.scrub_headers(request.headers, scrub.REQUEST_HEADERS)
    body = request.body
    if isinstance(body, bytes) and body:
        body, content_type = scrub.scrub_request_body(body, str(headers.get("content-type", "")))
        request.body = body
        if content_type:
            headers["content-type"] = content_type
    request.headers = headers
    return request


def _suite_matcher(matcher: _Matcher) -> _Matcher:
    """Return a matcher that finds all that the given one finds, and requests that differ only by chance."""
    if matcher.__name__ in _BODY_MATCHERS:

        def match(request: Any, recorded: Any) -> Any:
            return _is_same_form(request, recorded) or matcher(request, recorded)

    elif matcher.__name__ in _URL_MATCHERS:

        def match(request: Any, recorded: Any) -> Any:
            # An earlier recording has the placeholder in place of the name of an Azure resource.
            if scrub.PLACEHOLDER in recorded.uri and (url := scrub.scrub_url(request.uri)) != request.uri:
                request = copy.copy(request)
                request.uri = url
            return matcher(request, recorded)

    else:
        return matcher
    return _named(match, matcher)


def _named(match: _Matcher, matcher: _Matcher) -> _Matcher:
    match.__name__ = matcher.__name__  # VCR.py's messages show it
    return match


def _match_method(request: Any, recorded: Any) -> None:
    assert request.method == recorded.method, f"{request.method} != {recorded.method}"  # noqa: S101 - VCR.py's protocol


def _match_uri(request: Any, recorded: Any) -> None:
    assert request.uri == recorded.uri, f"{request.uri} != {recorded.uri}"  # noqa: S101 - as above


def _match_body(request: Any, recorded: Any) -> None:
    if _comparable_body(request) != _comparable_body(recorded):
        raw_body(request, recorded)  # raises an error that shows the difference


_match_method.__name__, _match_uri.__name__, _match_body.__name__ = "method", "uri", "body"


def _is_same_form(request: Any, recorded: Any) -> bool:
    is_form = all("multipart/form-data" in _content_type(each).lower() for each in (request, recorded))
    return is_form and bool(_comparable_body(request) == _comparable_body(recorded))


def _comparable_body(request: Any) -> Any:
    return scrub.comparable_body(request.body, _content_type(request))


def _content_type(request: Any) -> str:
    value = next((value for name, value in request.headers.items() if name.lower() == "content-type"), "")
    value = value[0] if isinstance(value, list) and value else value
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
