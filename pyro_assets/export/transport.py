"""One attempt over HTTP: headers, credentials, TLS and an answer that holds no secret.

Retries are `client`'s. Secrets are looked up for every attempt, so a changed file counts at once, and nothing that
requests or a receiver says gets out before `Redactor` has seen it.
"""

import time as _time
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from pyro_assets.errors import ReceiverMisconfigured
from pyro_assets.export.answers import Answer
from pyro_assets.export.deadline import DeadlineAdapter
from pyro_assets.export.receivers import Receiver
from pyro_assets.export.secrets import Redactor, SecretRef

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
    sleep = staticmethod(_time.sleep)


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

    def write(self, body: bytes, org_id: str, attempt: int = 0) -> Answer:
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

    def get(self, url: str, params: Mapping[str, str], org_id: str = "", max_bytes: int = _READ_BYTES) -> Answer:
        """GET something of the same receiver with the same credentials; the text of a status 200 is not redacted.

        Raises:
            SecretMissing, ReceiverMisconfigured: the request cannot be made.
        """
        headers = {ORG_ID_HEADER: org_id} if org_id else {}
        return self._request("GET", url, headers=headers, params=dict(params), max_bytes=max_bytes)

    def post_form(self, url: str, form: Mapping[str, str], org_id: str = "", max_bytes: int = _READ_BYTES) -> Answer:
        """POST a form, as PromQL's API takes long queries; the text of a status 200 is not redacted.

        Raises:
            SecretMissing, ReceiverMisconfigured: the request cannot be made.
        """
        headers = {ORG_ID_HEADER: org_id} if org_id else {}
        return self._request("POST", url, headers=headers, data=dict(form), max_bytes=max_bytes)

    def _request(
        self, method: str, url: str, *, headers: dict[str, str], max_bytes: int = _TEXT_CHARACTERS, **content: Any
    ) -> Answer:
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
            return Answer(0, text, seconds=self._clock.monotonic() - begin)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader, UnicodeError) as error:
            raise ReceiverMisconfigured(
                f"receiver {receiver.name}: the request to {receiver.shown_url} cannot be made: {type(error).__name__}",
                receiver=receiver.name,
            ) from None
        except requests.RequestException as error:
            return Answer(0, self._why(error), seconds=self._clock.monotonic() - begin)
        except OSError as error:
            raise ReceiverMisconfigured(
                f"receiver {receiver.name}: a file of `tls` cannot be used: {self._why(error)}", receiver=receiver.name
            ) from None
        return self._answer(response, begin, max_bytes)

    def _answer(self, response: requests.Response, begin: float, max_bytes: int) -> Answer:
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
            return Answer(
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
        """What went wrong, without the URL's parameters."""
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
