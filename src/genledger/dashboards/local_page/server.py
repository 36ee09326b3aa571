"""The server of the page: on loopback, for reading alone.

A page of another site must not get at the numbers: it may have its own name resolved to this machine, so the `Host` of
a request has to be an address or a name of ours, and no answer may be embedded or read from elsewhere.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from genledger.dashboards.local_page.assets import SCRIPT, STYLES
from genledger.dashboards.local_page.chart_library import chart_library
from genledger.dashboards.local_page.markup import FOOT, head, login, problem
from genledger.dashboards.local_page.page import Source, body, title_of
from genledger.dashboards.local_page.view import FILTERS, View, address, read_view
from genledger.ledger.query import QueryError
from genledger.reports.periods import PeriodError
from genledger.shared.loggers import logger_of

SHORTEST_TOKEN = 16

_TOKEN = re.compile(rf"[\w-]{{{SHORTEST_TOKEN},}}", re.ASCII)
_COOKIE = "genledger_token"
_PATIENCE_S = 20.0
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_HTML = "text/html; charset=utf-8"


_log = logger_of(__name__)


class BindError(ValueError):
    """The page may not be served at an address. The message says what is missing."""


def is_loopback(host: str) -> bool:
    """Whether an address to bind is one that other machines cannot reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class PageServer(ThreadingHTTPServer):
    """Serves the page; bound when it is made.

    Args:
        source: Where the numbers are from.
        home: The view of an address that says nothing.
        host: Address to bind.
        port: Port to bind; 0 for any that is free.
        token: What readers must know; needed beyond loopback.

    Raises:
        BindError: It is beyond loopback without a token, or the token is short or has strange characters.
        LibraryMissing: The chart library is not installed.
        OSError: The address cannot be bound.
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, source: Source, home: View, *, host: str = "127.0.0.1", port: int = 0, token: str = "") -> None:
        if not token and not is_loopback(host):
            raise BindError(f"other machines reach {host}: give readers a --token, or serve on 127.0.0.1")
        if token and not _TOKEN.fullmatch(token):
            raise BindError(
                f"the token needs {SHORTEST_TOKEN} letters, digits, dashes or underscores; make one with "
                "`python -c 'import secrets; print(secrets.token_urlsafe())'`"
            )
        self.source = source
        self.home = home
        self.token = token
        self.names = frozenset({"localhost", host.lower(), socket.gethostname().lower()})
        self.assets = {
            "/page.css": ("text/css; charset=utf-8", STYLES.encode()),
            "/page.js": ("text/javascript; charset=utf-8", SCRIPT.encode()),
            "/charts.js": ("text/javascript; charset=utf-8", chart_library().encode()),
        }
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Requests)

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self.server_address[:2]
        name = f"[{host!s}]" if self.address_family == socket.AF_INET6 else str(host)
        return f"http://{name}:{port}/"

    def server_bind(self) -> None:
        """Bind, without the look-up of the machine's full name that the base class makes."""
        # What `http.server` adds is a name that nothing here uses, and that may take seconds to find.
        super(ThreadingHTTPServer, self).server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a fault of ours, but not that a reader went away."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            _log.warning("the page could not be written", exc_info=True)


class _Requests(BaseHTTPRequestHandler):
    server: PageServer
    server_version = "genledger"
    sys_version = ""
    timeout = _PATIENCE_S

    def do_GET(self) -> None:
        """Answer, or refuse."""
        refusal = self._refusal()
        if refusal is not None:
            self._refuse(*refusal)
            return
        parts = urlsplit(self.path)
        if self.server.token and not self._is_known(parts.query):
            return
        if parts.path in self.server.assets:
            kind, content = self.server.assets[parts.path]
            self._begin(HTTPStatus.OK, kind, **{"Content-Length": str(len(content)), "Cache-Control": "no-cache"})
            self._write((content,))
        elif parts.path == "/":
            self._page(parts.query)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing here. The page is at /.")

    do_HEAD = do_GET

    def _not_allowed(self) -> None:
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "The page can only be read: use GET or HEAD.", Allow="GET, HEAD")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _not_allowed

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: addresses name tenants."""

    def _refusal(self) -> tuple[HTTPStatus, str] | None:
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return HTTPStatus.MISDIRECTED_REQUEST, (
                "This is no name of the page: open it by its IP address, as localhost, or by the name after --host."
            )
        return None

    def _is_ours(self, given: str) -> bool:
        try:
            name = urlsplit(f"//{given}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self.server.names
        return True  # an address is no name that another site could have resolved

    def _is_known(self, query: str) -> bool:
        """Whether the reader has the token. Otherwise, the answer is given here."""
        parameters = parse_qsl(query, keep_blank_values=True)
        given = [value for name, value in parameters if name == "token"]
        if given:
            if not self._is_token(given[-1]):
                self._ask_for_token(wrong=True)
                return False
            # Not left in the address, which is shared and remembered.
            rest = urlencode([one for one in parameters if one[0] != "token"])
            cookie = f"{_COOKIE}={self.server.token}; HttpOnly; SameSite=Lax; Path=/"
            self._redirect("?" + rest if rest else "./", **{"Set-Cookie": cookie})
            return False
        scheme, _, bearer = (self.headers.get("Authorization") or "").partition(" ")
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(self.headers.get("Cookie") or "")
        except CookieError:
            pass
        kept = cookies[_COOKIE].value if _COOKIE in cookies else ""
        if (scheme.lower() == "bearer" and self._is_token(bearer.strip())) or self._is_token(kept):
            return True
        self._ask_for_token(wrong=False)
        return False

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode("utf-8", "replace"), self.server.token.encode())

    def _ask_for_token(self, *, wrong: bool) -> None:
        self._begin(HTTPStatus.UNAUTHORIZED, _HTML, **{"WWW-Authenticate": 'Bearer realm="genledger"'})
        self._write(_encoded([head("Genledger", f"<style>{STYLES}</style>"), login(wrong), FOOT]))

    def _page(self, query: str) -> None:
        try:
            view = read_view(query, self.server.home)
        except (QueryError, PeriodError, ValueError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        given = parse_qsl(query, keep_blank_values=True)
        if any(name in FILTERS or not value for name, value in given):  # as a form writes it
            self._redirect(address(view))
            return
        self._begin(HTTPStatus.OK, _HTML)
        styles = '<link rel="stylesheet" href="page.css">'
        scripts = '<script async src="charts.js" id="charts"></script>\n<script async src="page.js"></script>'
        content = body(view, self.server.source, datetime.now(UTC))
        self._write(_encoded(chain([head(title_of(view), styles, scripts)], content, [FOOT])))

    def _redirect(self, to: str, **headers: str) -> None:
        self._begin(HTTPStatus.SEE_OTHER, _HTML, Location=to, **headers, **{"Content-Length": "0"})

    def _refuse(self, status: HTTPStatus, reason: str, **headers: str) -> None:
        self._begin(status, _HTML, **headers)
        said = f'<main id="main">{problem(status.phrase, reason)}</main>\n'
        self._write(_encoded([head("Genledger", f"<style>{STYLES}</style>"), said, FOOT]))

    def _begin(self, status: HTTPStatus, kind: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Cache-Control": "no-store", **_HEADERS, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _write(self, chunks: Iterable[bytes]) -> None:
        if self.command != "HEAD":
            for chunk in chunks:
                self.wfile.write(chunk)


def _encoded(chunks: Iterable[str]) -> Iterable[bytes]:
    return (chunk.encode("utf-8", "replace") for chunk in chunks)
