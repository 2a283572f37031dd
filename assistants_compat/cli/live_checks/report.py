"""What a user can attach to a report: the results, and a cassette without secrets, ids or hosts. Pure.

Ids keep their kind and get a number (`resp_1`), the same one everywhere, so that the cassette can still be followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ...recordings.leaks import Leak, find_leaks
from ...recordings.scrub import PLACEHOLDER, REQUEST_HEADERS, RESPONSE_HEADERS, scrub_headers
from ...recordings.vcr_yaml import document_from_interactions
from ...service.model_families import FAMILIES
from ...wire.objects import Json
from .answers import as_json_object
from .bench import Exchange
from .runner import LiveRun

SERVICE_ORIGIN = "https://api.openai.com/v1"
_AZURE_ORIGIN = f"https://{PLACEHOLDER}.openai.azure.com/openai/v1"
_OTHER_ORIGIN = "https://upstream.example/v1"
# Their values are ids, or names of hosts.
_HEADERS = RESPONSE_HEADERS - {"x-request-id", "location", "content-disposition"}
_SECRET_KEYS = frozenset({"encrypted_content", "obfuscation"})
_OWN_NAMES = frozenset({"doctor-live", "call_doctor"})

# The ids of the API, wherever they stand; also those of organizations, projects, users and requests.
_ID = re.compile(
    r"(?<![A-Za-z0-9])(?P<kind>resp|msg|rs|ci|fc|fs|call|file|assistant|cntr|cfile|vsfb|vs|conv|req|asst|thread|run|step|org"
    r"|proj|user|key|svcacct|chatcmpl|item|wfr|ft)(?P<mark>[_-])(?=[A-Za-z0-9_-]{0,200}[0-9A-Z])[A-Za-z0-9_-]{5,}"
)
_UUID = re.compile(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b")
_HEX = re.compile(r"(?<![A-Za-z0-9])[0-9a-f]{24,}(?![A-Za-z0-9])")
_KEY = re.compile(
    r"\b(?:sk|sess)-[A-Za-z0-9_*.-]{4,}|\bey[AIJ][A-Za-z0-9_-]{6,}\.[A-Za-z0-9_.-]{4,}|(?i:bearer)\s+[\w.~+/*-]{8,}=*"
)
_FINE_TUNED = re.compile(r"\bft:(?P<base>[A-Za-z0-9.-]+)(?::[A-Za-z0-9_-]*)+")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+\.[\w.-]+")
_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")
_URL = re.compile(r"\bhttps?://[^\s\"'<>\\)]+")
_HOST = re.compile(
    r"(?i)(?<![\w.-])(?:[a-z0-9-]{1,63}\.){1,8}(?:com|net|org|io|ai|dev|app|co|us|eu|uk|de|fr|cn|jp|in|ch|nl|gov|edu|info|biz|xyz|tech|local"
    r"|internal|intra|lan|corp|cloud|azure|example|localhost)\b(?::\d+)?"
)
_PUBLIC_HOSTS = ("openai.com", "wikimedia.org", "microsoft.com", "aka.ms", "upstream.example")
_ID_KEY = re.compile(r"(?:.*_)?ids?")
_PUBLIC_MODEL_SUFFIX = re.compile(
    r"(?:-(?:mini|nano|pro|codex|chat|latest|turbo|preview|luna|terra|sol|astra|max|deep-research|\d{4}-\d{2}-\d{2}|\d{4}|16k))*"
)


class Anonymizer:
    """Replaces what identifies the user, the same text by the same replacement everywhere."""

    def __init__(self, base_url: str, models: Sequence[str], secrets: Collection[str], *, is_azure: bool) -> None:
        """Take what is known to be private: the upstream's address, names of deployments, and keys."""
        host = urlsplit(base_url).netloc
        is_openai = (urlsplit(base_url).hostname or "").endswith(".openai.com")
        self.origin = SERVICE_ORIGIN if is_openai else _AZURE_ORIGIN if is_azure else _OTHER_ORIGIN
        self.service = "openai" if is_openai else "azure" if is_azure else "other"
        self._ids: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._models = {name: _public_name(name, number, is_azure=is_azure) for number, name in enumerate(models, 1)}
        private = {secret: PLACEHOLDER for secret in secrets if len(secret) > 3}  # noqa: PLR2004 - shorter ones are words
        if not is_openai:
            public_host = urlsplit(self.origin).netloc
            private |= {base_url.rstrip("/"): self.origin, host: public_host}
            private |= {name: public_host for name in (urlsplit(base_url).hostname,) if name}
        self._private = dict(sorted(private.items(), key=lambda pair: len(pair[0]), reverse=True))

    def model(self, name: str) -> str:
        """Return the public name of a model."""
        return self._models.get(name) or self.text(name)

    def learn(self, value: Any, key: str = "") -> None:
        """Remember every value that stands where an id stands, whatever its form."""
        if isinstance(value, dict):
            for name, item in value.items():
                self.learn(item, str(name))
        elif isinstance(value, list):
            for item in value:
                self.learn(item, key)
        elif isinstance(value, str) and _ID_KEY.fullmatch(key) and len(value) > 3 and value not in _OWN_NAMES:  # noqa: PLR2004
            self._pseudonym(value, key)

    def text(self, text: str) -> str:
        """Return a text without secrets, ids and hosts."""
        text = _KEY.sub(PLACEHOLDER, text)
        for private, public in self._private.items():
            text = text.replace(private, public)
        for name, public in self._models.items():
            if name != public:
                text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", public, text)
        text = _FINE_TUNED.sub(rf"ft:\g<base>:{PLACEHOLDER}", text)
        for id_ in sorted((id_ for id_ in self._ids if id_ in text), key=len, reverse=True):
            text = text.replace(id_, self._ids[id_])
        text = _ID.sub(lambda match: self._pseudonym(match[0], match["kind"]), text)
        for pattern, kind in ((_UUID, "uuid"), (_HEX, "hex")):
            text = pattern.sub(lambda match, kind=kind: self._pseudonym(match[0], kind), text)  # type: ignore[misc]
        text = _EMAIL.sub(PLACEHOLDER, text)
        text = _URL.sub(lambda match: self._public_url(match[0]), text)
        text = _HOST.sub(lambda match: match[0] if _is_public(match[0]) else PLACEHOLDER, text)
        return _ADDRESS.sub(PLACEHOLDER, text)

    def value(self, value: Any, key: str = "") -> Any:
        """Return a JSON value with the same done to every text in it."""
        if key in _SECRET_KEYS and value is not None:
            return PLACEHOLDER
        if isinstance(value, dict):
            return {self.text(str(name)): self.value(item, str(name)) for name, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, key) for item in value]
        return self.text(value) if isinstance(value, str) else value

    def path(self, path: str) -> str:
        """Return a path without ids."""
        return quote(self.text(unquote(path)), safe="/")

    def _public_url(self, url: str) -> str:
        return url if url.startswith(self.origin) or _is_public(urlsplit(url).hostname or "") else PLACEHOLDER

    def _pseudonym(self, id_: str, kind: str) -> str:
        if id_ in self._ids.values():  # it has been replaced already
            return id_
        if id_ not in self._ids:
            found = _ID.fullmatch(id_)
            prefix = f"{found['kind']}{found['mark']}" if found else f"{kind.removesuffix('s').removesuffix('_id')}_"
            self._counts[prefix] = self._counts.get(prefix, 0) + 1
            self._ids[id_] = f"{prefix}{self._counts[prefix]}"
        return self._ids[id_]


def _public_name(name: str, number: int, *, is_azure: bool) -> str:
    """Return a model's name if it is one of the service's own, else `model-1` (a deployment's name is private)."""
    for family in FAMILIES:
        if name.startswith(family.prefix) and _PUBLIC_MODEL_SUFFIX.fullmatch(name.removeprefix(family.prefix)):
            return name
    if name.startswith("ft:"):
        return f"{':'.join(name.split(':')[:2])}:{PLACEHOLDER}"
    return f"{'deployment' if is_azure else 'model'}-{number}"


def _is_public(host: str) -> bool:
    name = host.partition(":")[0].lower()
    return any(name == public or name.endswith(f".{public}") for public in _PUBLIC_HOSTS) or name.startswith(
        f"{PLACEHOLDER}."
    )


def cassette(exchanges: Iterable[Exchange], anonymizer: Anonymizer) -> Json:
    """Return the exchanges as a document in VCR.py's format, without secrets, ids and hosts."""
    exchanges = list(exchanges)
    for exchange in exchanges:
        anonymizer.learn(exchange.sent)
        for value in _json_values(exchange.body):
            anonymizer.learn(value)
    return document_from_interactions(_interaction(exchange, anonymizer) for exchange in exchanges)


def _interaction(exchange: Exchange, anonymizer: Anonymizer) -> Json:
    query = "&".join(f"{key}={quote(anonymizer.text(value), safe='.')}" for key, value in exchange.query)
    uri = f"{anonymizer.origin}{anonymizer.path(exchange.path)}{'?' if query else ''}{query}"
    sent = exchange.sent
    headers = scrub_headers({name: [value] for name, value in exchange.headers.items()}, _HEADERS)
    headers.pop("content-length", None)  # of other bytes
    headers.pop("content-encoding", None)
    body = None if sent is None else anonymizer.text(sent) if isinstance(sent, str) else _dump(anonymizer.value(sent))
    request_headers = scrub_headers({"content-type": ["application/json"]}, REQUEST_HEADERS) if body else {}
    return {
        "request": {"method": exchange.method, "uri": uri, "headers": request_headers, "body": body},
        "response": {
            "status": {"code": exchange.status or 0, "message": "" if exchange.status else "no answer"},
            "headers": headers,
            "body": {"string": _public_body(exchange.body, anonymizer)},
        },
    }


def _public_body(body: bytes, anonymizer: Anonymizer) -> str:
    text = body.decode("utf-8", "replace")
    if not text.strip():
        return ""
    try:
        return _dump(anonymizer.value(json.loads(text)))
    except (ValueError, RecursionError):
        return "\n".join(_public_line(line, anonymizer) for line in text.splitlines())


def _public_line(line: str, anonymizer: Anonymizer) -> str:
    """Return a line of an event stream, or of another text."""
    if line.startswith("data:"):
        try:
            return f"data: {json.dumps(anonymizer.value(json.loads(line.removeprefix('data:'))))}"
        except (ValueError, RecursionError):
            pass
    return anonymizer.text(line)


def _json_values(body: bytes) -> list[Any]:
    text = body.decode("utf-8", "replace")
    lines = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")]
    return [as_json_object(part.encode()) for part in lines or [text]]


def _dump(value: Any) -> str:
    return json.dumps(value, indent=2)


def report(run: LiveRun, anonymizer: Anonymizer, versions: Json) -> Json:
    """Return the results as the JSON of `live-report.json`."""
    return {
        "format": 1,
        **versions,
        "service": anonymizer.service,
        "interrupted": run.is_interrupted,
        "checks": [
            {
                "number": result.check.number,
                "name": result.check.name,
                "model": anonymizer.model(result.model),
                "outcome": result.verdict.outcome,
                "says": anonymizer.text(result.verdict.says),
                "do": anonymizer.text(result.verdict.do),
                "answers": [
                    {
                        "to": name,
                        "status": answer.status,
                        "refusal": answer.refusal,
                        "error": anonymizer.value(answer.error),
                    }
                    for name, answer in result.answers.items()
                ],
            }
            for result in run.results
        ],
        "known": [
            {"row": row, "for": anonymizer.text(key), "refused": refused} for (row, key), refused in run.known().items()
        ],
    }


def leaks(*documents: Json) -> list[Leak]:
    """Return what still looks like a secret; then nothing may be written."""
    return [leak for document in documents for leak in find_leaks(document, "live report")]
