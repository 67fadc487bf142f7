"""One attempt over HTTP: headers, credentials, TLS and an answer that holds no secret.

Here, too:
* verdicts on a receiver's answers: accepted, to be sent again, refused, too large, or misconfigured.

Retries are `client`'s. Secrets are looked up for every attempt, so a changed file counts at once, and nothing that
requests or a receiver says gets out before `Redactor` has seen it.
"""

import re
import time as _time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import Enum
from importlib import metadata
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from pyro_assets.errors import ReceiverMisconfigured
from pyro_assets.export.remote_write.deadline import DeadlineAdapter
from pyro_assets.receivers.model import Receiver
from pyro_assets.receivers.secrets import Redactor, SecretRef

_HTML: Final = re.compile(r"\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_INTEGER: Final = re.compile(r"[0-9]{1,9}")
_MAX_SHOWN: Final = 300
#: Text of an answer -> reason of `refusals.REASONS`, the first that fits.
_REASONS: Final = (
    # First, because these texts quote labels, which may say anything.
    (
        re.compile(
            r"max-label-names-per-series|label-name-too-long|label-value-too-long|label limit|too many labels"
            r"|label (?:name|value) too long|label (?:name|value) length exceeds|number of labels exceeds"
            r"|has \d+ label names; limit|labels size bytes exceeded"
        ),
        "label_limit",
    ),
    (re.compile(r"too far in the future|too-far-in-future|timestamp too new"), "future"),
    (re.compile(r"duplicate sample for timestamp|duplicate-timestamp|existing \S+, new value"), "conflict"),
    (re.compile(r"out of bounds|too old|timestamp-too-old|outside the retention"), "too_old"),
    (re.compile(r"out of order|out-of-order"), "out_of_order"),
    (re.compile(r"label name .* is not unique|duplicate-label-names|duplicate label name"), "duplicate_label"),
    (re.compile(r"max-series-per-|per-user series limit|per-metric series limit"), "series_limit"),
)
#: What receivers of several tenants answer to one of them that is over its limits or not allowed to write.
TENANT_STATUSES: Final = frozenset({403, 429, 529})


class Verdict(Enum):
    """What an answer means for the samples of its request."""

    ACCEPTED = "accepted"
    RETRY = "retry"
    REFUSED = "refused"
    TOO_LARGE = "too large"
    MISCONFIGURED = "misconfigured"


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """One answer, or none.

    Attributes:
        status: HTTP status, 0 when there was no answer.
        text: the first part of the body, without secrets; or why there was no answer.
        content_type: of the body, in small letters.
        retry_after: the header as sent.
        location: host of the place that a redirection names.
        seconds: how long it took.
    """

    status: int
    text: str = ""
    content_type: str = ""
    retry_after: str = ""
    location: str = ""
    seconds: float = field(default=0.0, compare=False)

    @property
    def is_html(self) -> bool:
        """Whether the answer is a web page: another program listens there, or a login page is in between."""
        return self.content_type.startswith("text/html") or _HTML.match(self.text) is not None

    def __str__(self) -> str:
        text = " ".join(self.text.split())
        shown = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
        if self.is_html and self.status:
            shown = "a HTML page"
        status = f"status {self.status}" if self.status else "no answer"
        return f"{status}: {shown}" if shown else status


def verdict(answer: HttpAnswer) -> Verdict:
    """The verdict on an answer.

    >>> [verdict(HttpAnswer(status)).name for status in (204, 429, 400, 413, 401)]
    ['ACCEPTED', 'RETRY', 'REFUSED', 'TOO_LARGE', 'MISCONFIGURED']
    """
    status = answer.status
    if 200 <= status < 300:
        return Verdict.MISCONFIGURED if answer.is_html else Verdict.ACCEPTED
    if status == 501:
        return Verdict.MISCONFIGURED
    if status in (0, 408, 425, 429) or status >= 500:
        return Verdict.RETRY
    if status == 413:
        return Verdict.TOO_LARGE
    # A page instead of the line of text that receivers answer is a proxy's or another program's.
    if status in (400, 409, 422) and not answer.is_html:
        return Verdict.REFUSED
    return Verdict.MISCONFIGURED


def refusal_reason(text: str) -> str:
    """The reason in `refusals.REASONS` that an answer's text stands for.

    >>> refusal_reason("out of order sample"), refusal_reason("too old sample"), refusal_reason("no")
    ('out_of_order', 'too_old', 'rejected')
    """
    return next((reason for pattern, reason in _REASONS if pattern.search(text)), "rejected")


def retry_after_seconds(header: str, now_seconds: float) -> float | None:
    """Seconds to wait by a Retry-After header, in either form; None when it says nothing usable.

    >>> retry_after_seconds("7", 0.0), retry_after_seconds("Thu, 01 Jan 1970 00:01:00 GMT", 50.0)
    (7.0, 10.0)
    >>> retry_after_seconds("soon", 0.0), retry_after_seconds("Thu, 01 Jan 1970 00:00:01 GMT", 50.0)
    (None, 0.0)
    """
    header = header.strip()
    if _INTEGER.fullmatch(header):
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now_seconds)
    except (ValueError, TypeError, OverflowError):
        return None


def advice(answer: HttpAnswer, *, has_credentials: bool) -> str:
    """The remedy for an answer whose verdict is MISCONFIGURED."""
    status, text = answer.status, answer.text
    if status == 404 and "remote write receiver needs to be enabled" in text:
        return "start Prometheus with --web.enable-remote-write-receiver"
    if 200 <= status < 300 or answer.is_html:
        return (
            "a HTML page came back, so this is no remote write receiver, or a login page is in between; check the URL"
        )
    if 300 <= status < 400:
        place = f" to {answer.location}" if answer.location else ""
        return f"it redirects{place}; write the final URL"
    return {
        401: "it does not accept the credentials; check what basic_auth, bearer_token or headers refer to"
        if has_credentials
        else "it wants credentials; add basic_auth, bearer_token or headers",
        403: "the credentials may not write there; check their permissions and the X-Scope-OrgID",
        404: "nothing takes samples at this URL; the path is /api/v1/write (Prometheus, VictoriaMetrics), "
        "/api/v1/push (Mimir) or /api/prom/push (Grafana Cloud)",
        405: "it takes no POST at this URL; check the path",
        407: "a proxy in between wants credentials; check the proxy's environment variables",
        415: "it does not take remote write 1.0 at this URL; enable that version there",
        501: "it does not do this at this URL; check the path",
    }.get(status, "it refuses the request as such; check the URL, the headers and its log")


CONNECT_TIMEOUT_SECONDS: Final = 5.0
_READ_BYTES: Final = 64 * 1024
_TEXT_CHARACTERS: Final = 4096
#: Set for every request of remote write 1.0, whatever a receiver's own headers say.
WRITE_HEADERS: Final = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
ORG_ID_HEADER: Final = "X-Scope-OrgID"


class Clock(Protocol):
    """Time, as far as sending needs it; tests have one that does not wait."""

    def time(self) -> float:
        """Seconds since 1970."""

    def monotonic(self) -> float:
        """Seconds since some moment, never going back."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clock."""

    time = staticmethod(_time.time)
    monotonic = staticmethod(_time.monotonic)

    def sleep(self, seconds: float) -> None:
        """Waits."""
        _time.sleep(seconds)


class _Headers(AuthBase):
    """Puts credentials into a request at the last moment; always set, so that requests never looks into ~/.netrc."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __repr__(self) -> str:
        return "_Headers(...)"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


class Transport:
    """Talks to one receiver; use it from one thread at a time, and close it.

    Args:
        receiver: to whom.
        environ: where secrets that are environment variables are looked up.
        clock: measures attempts.
    """

    def __init__(self, receiver: Receiver, environ: Mapping[str, str], clock: Clock | None = None) -> None:
        self.receiver = receiver
        self.redactor = Redactor()
        self._environ = environ
        self._clock = clock or SystemClock()
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"pyro-assets/{_version()}"
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, DeadlineAdapter())
        if receiver.tls.insecure_skip_verify:
            _accept_any_certificate_silently()

    def __enter__(self) -> "Transport":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._session.close()

    def write(self, body: bytes, org_id: str, attempt: int = 0) -> HttpAnswer:
        """POST the body of a remote write request; `attempt` is 0 for the first.

        Raises:
            SecretMissing, ReceiverMisconfigured: the request cannot be made.
        """
        headers = dict(WRITE_HEADERS)
        if org_id:
            headers[ORG_ID_HEADER] = org_id
        if attempt:
            headers["Retry-Attempt"] = str(attempt)  # Mimir makes its Retry-After longer by it
        return self._request("POST", self.receiver.url, headers=headers, data=body)

    def get(self, url: str, params: Mapping[str, str], org_id: str = "", max_bytes: int = _READ_BYTES) -> HttpAnswer:
        """GET something of the same receiver with the same credentials; the text of a status 200 is not redacted.

        Raises:
            SecretMissing, ReceiverMisconfigured: the request cannot be made.
        """
        headers = {ORG_ID_HEADER: org_id} if org_id else {}
        return self._request("GET", url, headers=headers, params=dict(params), max_bytes=max_bytes)

    def post_form(
        self, url: str, form: Mapping[str, str], org_id: str = "", max_bytes: int = _READ_BYTES
    ) -> HttpAnswer:
        """POST a form, as PromQL's API takes long queries; the text of a status 200 is not redacted.

        Raises:
            SecretMissing, ReceiverMisconfigured: the request cannot be made.
        """
        headers = {ORG_ID_HEADER: org_id} if org_id else {}
        return self._request("POST", url, headers=headers, data=dict(form), max_bytes=max_bytes)

    def _request(
        self, method: str, url: str, *, headers: dict[str, str], max_bytes: int = _TEXT_CHARACTERS, **content: Any
    ) -> HttpAnswer:
        receiver, begin = self.receiver, self._clock.monotonic()
        tls = receiver.tls
        auth = _Headers(self._credentials())
        cert = (tls.cert_file, tls.key_file) if tls.cert_file and tls.key_file else tls.cert_file
        try:
            response = self._session.request(
                method,
                url,
                headers=headers,
                auth=auth,
                timeout=(min(CONNECT_TIMEOUT_SECONDS, receiver.timeout_ms / 1000), receiver.timeout_ms / 1000),
                verify=False if tls.insecure_skip_verify else tls.ca_file or True,
                cert=cert,
                allow_redirects=False,  # a redirected POST loses its body, and another host would get the credentials
                stream=True,
                **content,
            )
        except requests.exceptions.SSLError as error:
            # Whether a certificate is wrong or the connection was cut in the handshake is only in the text.
            text = self._why(error)
            if "certificate" in text.lower():
                raise ReceiverMisconfigured(
                    f"receiver {receiver.name}: its certificate is not accepted: {text}; name who signed it as "
                    "tls.ca_file",
                    receiver=receiver.name,
                ) from None
            return HttpAnswer(0, text, seconds=self._clock.monotonic() - begin)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader, UnicodeError) as error:
            raise ReceiverMisconfigured(
                f"receiver {receiver.name}: the request to {receiver.shown_url} cannot be made: {type(error).__name__}",
                receiver=receiver.name,
            ) from None
        except requests.RequestException as error:
            return HttpAnswer(0, self._why(error), seconds=self._clock.monotonic() - begin)
        except OSError as error:
            raise ReceiverMisconfigured(
                f"receiver {receiver.name}: a file of `tls` cannot be used: {self._why(error)}", receiver=receiver.name
            ) from None
        return self._answer(response, begin, max_bytes)

    def _answer(self, response: requests.Response, begin: float, max_bytes: int) -> HttpAnswer:
        text = ""
        with response:
            try:
                parts, size = [], 0
                for part in response.iter_content(_READ_BYTES):
                    parts.append(part)
                    size += len(part)
                    if size > max_bytes:
                        break
                text = _decoded(b"".join(parts)[:max_bytes], response.encoding)
            except requests.RequestException as error:
                # The status has come, and it alone says whether the samples were taken.
                text = f"the answer broke off: {self._why(error)}"
            headers = response.headers
            # Samples may hold the same characters as a short secret, so data stays as it is and is not shown.
            is_data = response.status_code == 200 and max_bytes > _TEXT_CHARACTERS
            return HttpAnswer(
                status=response.status_code,
                text=text if is_data else self.redactor.redact(text),
                content_type=headers.get("Content-Type", "").lower(),
                retry_after=self.redactor.redact(headers.get("Retry-After", "")),
                location=urlsplit(headers.get("Location", "")).netloc.rpartition("@")[2],
                seconds=self._clock.monotonic() - begin,
            )

    def _credentials(self) -> dict[str, str]:
        receiver = self.receiver
        headers = {name: self._value(value) for name, value in receiver.headers.items()}
        if receiver.bearer_token is not None:
            headers["Authorization"] = f"Bearer {self._value(receiver.bearer_token)}"
        if receiver.basic_auth is not None:
            user = self._value(receiver.basic_auth.username)
            password = self._value(receiver.basic_auth.password)
            if ":" in user:
                raise ReceiverMisconfigured(
                    f"receiver {receiver.name}: the user of basic_auth holds a colon, which ends it",
                    receiver=receiver.name,
                )
            basic = requests.auth._basic_auth_str(user, password)
            self.redactor.add(basic.removeprefix("Basic "))
            headers["Authorization"] = basic
        return headers

    def _value(self, value: str | SecretRef) -> str:
        if isinstance(value, str):
            return value
        secret = value.resolve(self._environ, self.receiver.name)
        self.redactor.add(secret)
        return secret

    def _why(self, error: BaseException) -> str:
        """The message of an error, without secrets and the URL's parameters."""
        inner: Any = error.args[0] if error.args else error
        reason = getattr(inner, "reason", None) or inner
        text = str(reason).replace(self.receiver.url, self.receiver.shown_url)
        return self.redactor.redact(f"{type(error).__name__}: {text.rpartition('>: ')[2] or text}")


def _decoded(data: bytes, encoding: str | None) -> str:
    try:
        return data.decode(encoding or "utf-8", "replace")
    except (LookupError, ValueError):  # an encoding that is unknown, or that replaces nothing
        return data.decode("utf-8", "replace")


def _accept_any_certificate_silently() -> None:
    # The person has said so in the file, and `Receiver.warnings` reminds them; not once per request.
    import urllib3

    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)


def _version() -> str:
    try:
        return metadata.version("pyro-assets")
    except metadata.PackageNotFoundError:
        return "0"
