"""Send the bytes of a trace request over OTLP/HTTP, and classify the response.

The stock exporters end their retries within one timeout of a few seconds, do not retry 408 or 500, and keep
the encoded bytes to themselves, so that neither a spool, nor a retry hours later with the same bytes, nor
an answer of 413 could be handled around them. Encoding, settings and everything but the attempt itself
stay OpenTelemetry's.
"""

from __future__ import annotations

import base64
import encodings.idna  # noqa: F401  see below
import gzip
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

# Not only when first needed: a process that forks while this thread imports leaves the child a module that is
# locked forever. The same goes for the codec of host names.
import requests
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from genledger.destinations.connections import Session
from genledger.destinations.delivery.attempt import Attempt

Verdict = Literal["delivered", "retry", "too_large", "refused"]
Compression = Literal["gzip", "deflate", "none"]

LONGEST_PAUSE_S = 3600.0
"""The longest `Retry-After` that is believed, in seconds."""

_ANSWER_BYTES = 65_536
_DETAIL_CHARACTERS = 200


class Answer(NamedTuple):
    """Result of one attempt.

    `reason` is one word for counting (`http_503`, `timeout`, `connection`), `detail` a phrase for people,
    free of credentials. `retry_after_s` is the pause that the receiver asked for. `rejected` is how many
    spans of a delivered request the receiver did not take (OTLP's partial success).
    """

    verdict: Verdict
    reason: str = ""
    detail: str = ""
    retry_after_s: float | None = None
    rejected: int = 0


class Sender(ABC):
    """One way to hand a serialized trace request to one receiver."""

    endpoint: str
    """Where it sends to, without credentials."""

    _attempt: Attempt[Answer] | None = None

    def send(self, data: bytes, timeout_s: float, meanwhile: Callable[[], None] | None = None) -> Answer:
        """Make one attempt of at most `timeout_s` seconds in all, whatever the receiver does. Never raises.

        `meanwhile` is called now and then while there is no answer; it must not raise either.
        """
        try:
            self._attempt = attempt = Attempt(self._exchange(data, timeout_s))
            try:
                return attempt.result(timeout_s, meanwhile)
            except TimeoutError as error:
                self._disconnect()
                attempt.leave()
                return Answer("retry", "timeout", str(error))
        except Exception as error:
            return Answer("retry", "connection", type(error).__name__)
        finally:
            self._attempt = None

    def close(self) -> None:
        """Close every connection, and end the attempt under way. From any thread."""
        attempt = self._attempt
        if attempt is not None:
            attempt.give_up()
        self._disconnect()

    @abstractmethod
    def _exchange(self, data: bytes, timeout_s: float) -> Callable[[], Answer]:
        """Return what hands `data` over and waits for the answer; it runs in another thread."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Close every connection, so that what waits for one ends."""

    @abstractmethod
    def forget(self) -> None:
        """Drop every connection without closing it: they belong to the parent of this process."""


class HttpExporter(Sender):
    """OTLP over HTTP with protobuf.

    `reads_partial_success` is for receivers that answer as OTLP says; Langfuse answers 200 with JSON, which
    must not be read as protobuf.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        compression: Compression = "gzip",
        verify: bool | str = True,
        certificate: str | tuple[str, str] | None = None,
        reads_partial_success: bool = True,
    ) -> None:
        parts = urlsplit(url)
        self.endpoint = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self._url = url
        self._headers = {
            "content-type": "application/x-protobuf",
            "user-agent": "genledger",
            **{name.lower(): value for name, value in headers.items()},
        }
        if compression != "none":
            self._headers["content-encoding"] = compression
        self._compression = compression
        self._verify = verify
        self._certificate = certificate
        self._reads_partial_success = reads_partial_success
        self._secrets = secrets_of(headers)
        self._session: Session | None = None

    def __repr__(self) -> str:
        return f"HttpExporter({self.endpoint!r})"

    def _exchange(self, data: bytes, timeout_s: float) -> Callable[[], Answer]:
        kept = self._session is not None
        session = self._session or self._connect()

        def exchange() -> Answer:
            body = self._compress(data)
            try:
                try:
                    response = self._post(session, body, timeout_s)
                except requests.ConnectionError as error:
                    if not kept or isinstance(error, requests.Timeout) or session is not self._session:
                        raise
                    # A kept connection that the receiver has closed meanwhile looks like this; a new one tells.
                    response = self._post(session, body, timeout_s)
                return self._read(response)
            except requests.Timeout:
                return Answer("retry", "timeout", f"no answer within {timeout_s:.3g} s")
            except (
                requests.exceptions.InvalidURL,
                requests.exceptions.InvalidSchema,
                requests.exceptions.InvalidHeader,
            ) as error:
                return Answer("refused", "invalid_request", type(error).__name__)
            except requests.RequestException as error:
                return Answer("retry", "connection", _cause(error))

        return exchange

    def _compress(self, data: bytes) -> bytes:
        if self._compression == "gzip":
            return gzip.compress(data, 6, mtime=0)
        if self._compression == "deflate":
            return zlib.compress(data)
        return data

    def _post(self, session: Session, body: bytes, timeout_s: float) -> requests.Response:
        return session.post(
            self._url, data=body, headers=self._headers, timeout=timeout_s, allow_redirects=False, stream=True
        )

    def _connect(self) -> Session:
        session = Session()
        session.verify = self._verify
        session.cert = self._certificate
        # Without this, an entry in ~/.netrc for the host would replace the authorization header.
        session.auth = lambda request: request
        self._session = session
        return session

    def _read(self, response: requests.Response) -> Answer:
        content = b""
        with response:
            for piece in response.iter_content(8192):
                content += piece
                if len(content) > _ANSWER_BYTES:
                    break
        status = response.status_code
        reason = f"http_{status}"
        if 200 <= status < 300:
            return self._partial(content) if self._reads_partial_success else Answer("delivered")
        detail = f"{status} {self._text(content)}".rstrip()
        if status == 413:
            return Answer("too_large", reason, detail)
        if status in (408, 429) or status >= 500:
            return Answer("retry", reason, detail, retry_after(response.headers.get("retry-after")))
        return Answer("refused", reason, detail)

    def _partial(self, content: bytes) -> Answer:
        try:
            partial = ExportTraceServiceResponse.FromString(content).partial_success
        except DecodeError:
            # 200 is the receiver's word that it has the request; what else it says is not needed.
            return Answer("delivered")
        if not partial.rejected_spans:
            return Answer("delivered")
        detail = f"took all but {partial.rejected_spans} spans: {self._clean(partial.error_message)}"
        return Answer("delivered", "rejected", detail, rejected=partial.rejected_spans)

    def _text(self, content: bytes) -> str:
        return self._clean(content[: 4 * _DETAIL_CHARACTERS].decode("utf-8", "replace"))

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_DETAIL_CHARACTERS]

    def forget(self) -> None:
        """Drop the connections of the parent process without using them."""
        self._session = self._attempt = None

    def _disconnect(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


def secrets_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Everything in the values of `headers` that must not be shown, longest first."""
    found: set[str] = set()
    for value in headers.values():
        words = value.split()
        found.update((value, *words))
        if len(words) == 2 and words[0].lower() == "basic":
            try:
                pair = base64.b64decode(words[1]).decode()
            except ValueError:
                continue
            found.update((pair, *pair.split(":", 1)))
    return tuple(sorted((secret for secret in found if len(secret) >= 6), key=len, reverse=True))


def retry_after(value: str | None) -> float | None:
    """Seconds to wait, from a `Retry-After` header in either form (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.replace(".", "", 1).isdigit():
        seconds = float(value)
    else:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_PAUSE_S)


def _cause(error: BaseException) -> str:
    """The system's own words for a failed connection; the library's would repeat the address."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.append(current)
        if isinstance(current, OSError) and current.strerror:
            return current.strerror.lower()
        waiting.extend(arg for arg in current.args if isinstance(arg, BaseException))
        reason = getattr(current, "reason", None)
        waiting.extend(e for e in (reason, current.__cause__, current.__context__) if isinstance(e, BaseException))
    return type(seen[-1]).__name__
