"""Receivers: where series go, what of them, with which labels, credentials and limits.

Here, too:
* durations as people write them in configuration files and receivers in theirs: 500ms, 5m, 1h30m, 30d, 10y.

Add a field to the models here, and what contradicts it to `receiver_problems`; reading files belongs to `file`. Secrets
are only ever references (`secrets`). Defaults that depend on the product are in `_PRODUCTS`, each with its reason.
"""

import fnmatch
import ipaddress
import re
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from pyro_assets.receivers.secrets import SecretRef
from pyro_assets.rules.names import TENANT_LABEL, LabelNames
from pyro_assets.rules.selectors import Selector, SelectorText, parse_selector
from pyro_assets.rules.validation import MODEL_CONFIG, refusal
from pyro_assets.storage.keys import hour_start_ms

_UNIT_MS: Final = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_PART: Final = re.compile(r"([0-9]{1,15})(ms|[ywdhms])")
_WHOLE: Final = re.compile(r"(?:[0-9]{1,15}(?:ms|[ywdhms]))+")


def parse_duration_ms(text: str) -> int:
    """Milliseconds of a duration in Prometheus's notation; "0" needs no unit.

    >>> parse_duration_ms("1h30m"), parse_duration_ms("30d"), parse_duration_ms("250ms"), parse_duration_ms("0")
    (5400000, 2592000000, 250, 0)

    Raises:
        ValueError: it is no duration.
    """
    if text == "0":
        return 0
    if not _WHOLE.fullmatch(text):
        raise ValueError("write a duration such as 500ms, 30s, 5m, 1h or 30d")
    return sum(int(number) * _UNIT_MS[unit] for number, unit in _PART.findall(text))


def show_duration(duration_ms: int) -> str:
    """The shortest notation of whole milliseconds.

    >>> show_duration(5_400_000), show_duration(2_592_000_000), show_duration(0)
    ('1h30m', '30d', '0s')
    """
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, duration_ms = divmod(duration_ms, _UNIT_MS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


Kind = Literal["prometheus", "mimir", "victoriametrics", "generic"]
SECRETIVE: Final = re.compile(r"auth|token|key|secret|passw|pwd|cookie|credential|signature", re.IGNORECASE)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_MAX_REQUEST_BYTES: Final = 32 * 1024 * 1024


_refuse = partial(refusal, "receiver")


def _check_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise _refuse("must be small letters, digits, dots, - and _, a letter or digit first, at most 63 characters")
    return text


def _check_url(text: str) -> str:
    """Refuse what cannot be a URL of ours; the text itself is not repeated, a password may be in it."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise _refuse("is no URL; write http://HOST:PORT/PATH") from None
    if parts.username is not None or parts.password is not None:
        raise _refuse("must not hold a user or password; use basic_auth")
    if parts.scheme not in ("http", "https") or not parts.hostname or not HEADER_VALUE.fullmatch(text) or " " in text:
        raise _refuse("must be http:// or https:// with a host; write http://HOST:PORT/PATH")
    if parts.fragment:
        raise _refuse("must not have a fragment (#...)")
    for key, _ in parse_qsl(parts.query, keep_blank_values=True):
        if SECRETIVE.search(key):
            raise _refuse("has a parameter that looks like a secret; send it as a header, by reference")
    return text


def _check_duration(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _refuse("must be a duration such as 30s, 5m, 1h or 30d")
    try:
        return parse_duration_ms(str(value))
    except ValueError as error:
        raise _refuse(f"{value!r} is no duration; {error}") from error


def _check_start(text: str) -> str:
    if text == "now":
        return text
    try:
        hour_start_ms(text)
    except ValueError:
        raise _refuse('must be "now" or an hour (UTC) such as 2026-11-25-09:00') from None
    return text


def _check_secret(value: Any) -> Any:
    # Before pydantic's own check, whose messages are not ours.
    if not isinstance(value, dict | SecretRef):
        raise _refuse("must be a reference, {env: NAME} or {file: PATH}; a secret never stands in this file")
    return value


def _check_header(value: Any) -> Any:
    if isinstance(value, dict | SecretRef):
        return value
    if not isinstance(value, str) or not HEADER_VALUE.fullmatch(value):
        raise _refuse("must be text of visible ASCII characters, or a reference, {env: NAME} or {file: PATH}")
    return value


Url = Annotated[str, AfterValidator(_check_url)]
DurationMs = Annotated[int, BeforeValidator(_check_duration), Field(ge=0)]
Secret = Annotated[SecretRef, BeforeValidator(_check_secret)]
HeaderValue = Annotated[str | SecretRef, BeforeValidator(_check_header)]
Text = Annotated[str, StringConstraints(min_length=1)]
Positive = Annotated[int, Field(ge=1)]


class Model(BaseModel):
    """Base of all parts of a receiver: unknown fields are errors, and no message repeats what was written."""

    model_config = MODEL_CONFIG | ConfigDict(hide_input_in_errors=True)


class BasicAuth(Model):
    """Basic authentication; the user may stand in the file, the password may not."""

    username: HeaderValue
    password: Secret


class Tls(Model):
    """How the receiver's certificate is checked, and ours.

    Attributes:
        ca_file: certificates to trust instead of the system's.
        cert_file: our certificate (PEM); with `key_file` where the key is not in it.
        insecure_skip_verify: accept any certificate.
    """

    ca_file: Text | None = None
    cert_file: Text | None = None
    key_file: Text | None = None
    insecure_skip_verify: bool = False


class ReceiverLimits(Model):
    """Limits of one receiver; None means the default of its kind.

    Attributes:
        samples_per_second: sent on average, at most; None: as fast as it answers.
        request_bytes: of one request before compression.
        request_series: of one request.
        labels: per series, the name of the metric included.
        label_name_bytes: of a label's name.
        label_value_bytes: of a label's value.
        active_series: distinct series per tenant and hour of samples; more are refused and counted.
    """

    samples_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    request_bytes: Annotated[int, Field(ge=4096, le=_MAX_REQUEST_BYTES)] = 4_000_000
    request_series: Annotated[int, Field(ge=1, le=100_000)] = 2000
    labels: Positive | None = None
    label_name_bytes: Positive | None = None
    label_value_bytes: Positive | None = None
    active_series: Positive | None = None


@dataclass(frozen=True, slots=True)
class _Product:
    labels: int | None
    label_name_bytes: int | None
    label_value_bytes: int | None
    retention_ms: int | None
    knows_tenants: bool
    has_window: bool


_DAY_MS: Final = 86_400_000
_PRODUCTS: Final[dict[str, _Product]] = {
    # Has no limits of its own, and ignores X-Scope-OrgID.
    "prometheus": _Product(None, None, None, None, knows_tenants=False, has_window=True),
    # The defaults of its per-tenant limits; what is longer is refused.
    "mimir": _Product(30, 1024, 2048, None, knows_tenants=True, has_window=True),
    # Cuts labels and values silently: 30 labels, names of 256 bytes, and 1 KiB in the strictest of its versions. The
    # default retention is a month, and what is older is dropped with 204.
    "victoriametrics": _Product(30, 256, 1024, 30 * _DAY_MS, knows_tenants=False, has_window=False),
    # Unknown: as strict as the strictest that people are likely to run.
    "generic": _Product(30, 1024, 2048, None, knows_tenants=False, has_window=False),
}
#: Without a window, Prometheus and Mimir take samples up to half the head's two hours behind their newest.
HEAD_WINDOW_MS: Final = 3_600_000
#: Less than this is soon exceeded by an outage.
SHORT_WINDOW_MS: Final = 3_600_000


class Receiver(Model):
    """One receiver of samples.

    Attributes:
        name: of receipts, pages and messages; never changes once something was sent.
        url: takes POST of remote write 1.0.
        kind: the product, for defaults and checks.
        query_url: base of its PromQL interface (`/api/v1/query` below it); None: worked out from `url`.
        tenants: whose series it gets: names, or patterns with * and ?.
        select: selectors over a series' labels and `__name__`; a series is sent when one of them selects it.
        basic_auth, bearer_token, headers: credentials, by reference.
        org_id: a fixed X-Scope-OrgID for everything.
        org_ids: tenant -> X-Scope-OrgID; other tenants are sent under their own name.
        labels: added to every series.
        label_names: how label names that not every Prometheus takes are sent, see `rules.names.exported_name`.
        tenant_label: name of the label that holds the tenant. Not said: "tenant" where tenants share the receiver and
            no fixed org_id was chosen, else none. null: none.
        out_of_order_window_ms: what the receiver is configured to take (Prometheus, Mimir); in YAML
            `out_of_order_window: 1d`.
        retention_ms: what the receiver keeps; in YAML `retention: 1y`.
        dedup: VictoriaMetrics runs with -dedup.minScrapeInterval=1ms.
        start: "now" (when the receiver is first seen) or the hour from which it gets series.
        timeout_ms: of one attempt as a whole, from connecting to the end of the answer.
        retry_for_ms: how long one request is tried again.
    """

    name: Annotated[str, AfterValidator(_check_name)]
    url: Url
    kind: Kind = "generic"
    query_url: Url | None = None
    tenants: Annotated[list[Text], Field(min_length=1)] = ["*"]
    select: Annotated[list[SelectorText], Field(min_length=1)] = ["{}"]
    basic_auth: BasicAuth | None = None
    bearer_token: Secret | None = None
    headers: dict[str, HeaderValue] = {}
    tls: Tls = Tls()
    org_id: Text | None = None
    org_ids: dict[Text, Text] = {}
    labels: dict[str, Text] = {}
    label_names: LabelNames = "underscores"
    tenant_label: str | None = None
    limits: ReceiverLimits = ReceiverLimits()
    out_of_order_window_ms: DurationMs | None = Field(default=None, alias="out_of_order_window")
    retention_ms: DurationMs | None = Field(default=None, alias="retention")
    dedup: bool = False
    start: Annotated[str, AfterValidator(_check_start)] = "now"
    timeout_ms: Annotated[DurationMs, Field(ge=1)] = Field(default=30_000, alias="timeout")
    retry_for_ms: DurationMs = Field(default=300_000, alias="retry_for")

    @property
    def product(self) -> _Product:
        """Defaults of the kind."""
        return _PRODUCTS[self.kind]

    @property
    def max_labels(self) -> int | None:
        """Labels per series, the metric's name included; None: any number."""
        return self.limits.labels or self.product.labels

    @property
    def max_label_name_bytes(self) -> int | None:
        """Length of a label's name; None: any."""
        return self.limits.label_name_bytes or self.product.label_name_bytes

    @property
    def max_label_value_bytes(self) -> int | None:
        """Length of a label's value; None: any."""
        return self.limits.label_value_bytes or self.product.label_value_bytes

    @property
    def max_age_ms(self) -> int | None:
        """Samples older than this are surely refused or dropped; None: it takes any age.

        Measured from now, because a receiver in use has a sample of about now. A younger sample may still be refused:
        without an out-of-order window one of a series that has a newer sample.
        """
        retention = self.retention_ms or self.product.retention_ms
        window = max(self.out_of_order_window_ms or 0, HEAD_WINDOW_MS) if self.product.has_window else None
        return min((age for age in (retention, window) if age is not None), default=None)

    @property
    def takes_history(self) -> bool:
        """Whether samples of any age (inside retention and window) may be sent in time order by remote write."""
        return self.kind == "victoriametrics" or bool(self.out_of_order_window_ms)

    @property
    def is_idempotent(self) -> bool:
        """Whether a sample that is sent twice counts once there, also when it is not the newest of its series."""
        return self.dedup if self.kind == "victoriametrics" else bool(self.out_of_order_window_ms)

    @property
    def only_tenant(self) -> str | None:
        """The one tenant it gets series of, None where there may be several."""
        is_one = len(self.tenants) == 1 and not is_pattern(self.tenants[0])
        return self.tenants[0] if is_one else None

    @property
    def effective_tenant_label(self) -> str | None:
        """The label that holds the tenant, None for none."""
        if "tenant_label" in self.model_fields_set:
            return self.tenant_label
        if self.only_tenant is not None or self.org_id is not None or self.product.knows_tenants:
            return None
        return TENANT_LABEL

    @cached_property
    def selectors(self) -> tuple[Selector, ...] | None:
        """The selectors; None where everything is selected."""
        parsed = tuple(parse_selector(text) for text in self.select)
        return None if any(not selector.matchers for selector in parsed) else parsed

    def takes_tenant(self, tenant: str) -> bool:
        """Whether it gets series of a tenant."""
        return any(fnmatch.fnmatchcase(tenant, pattern) for pattern in self.tenants)

    def org_of(self, tenant: str) -> str:
        """The X-Scope-OrgID that a tenant's series are sent under."""
        return self.org_id if self.org_id is not None else self.org_ids.get(tenant, tenant)

    @property
    def shown_url(self) -> str:
        """The URL for people, without its parameters."""
        return self.url.partition("?")[0]

    @property
    def secret_refs(self) -> list[SecretRef]:
        """Everything that refers to a secret."""
        found: list[Any] = [self.bearer_token, *self.headers.values()]
        if self.basic_auth is not None:
            found += [self.basic_auth.username, self.basic_auth.password]
        return [ref for ref in found if isinstance(ref, SecretRef)]

    def warnings(self) -> list[str]:
        """Settings that are likely mistakes, or with which a sample that is sent twice may count twice."""
        found = []
        parts = urlsplit(self.url)
        if self.secret_refs and parts.scheme == "http" and not is_local(parts.hostname or ""):
            found.append("credentials are sent over http, which anyone on the way can read; use https")
        if self.tls.insecure_skip_verify:
            found.append("the receiver's certificate is not checked (insecure_skip_verify)")
        window_ms = self.out_of_order_window_ms
        if self.kind in ("prometheus", "mimir") and not window_ms:
            found.append(
                "no out_of_order_window is declared: late samples are refused, and a repeated one cannot be told from "
                "a late one; set out_of_order_time_window there (1d is plenty) and declare it here"
            )
        elif window_ms and window_ms < SHORT_WINDOW_MS:
            found.append(
                f"the out_of_order_window of {show_duration(window_ms)} is short: what comes later than that, after "
                "an outage or from a late upload, is refused; 1d is plenty"
            )
        if self.kind == "victoriametrics" and not self.dedup:
            found.append(
                "dedup is not declared: a sample that has to be sent twice counts twice; run VictoriaMetrics with "
                "-dedup.minScrapeInterval=1ms and write dedup: true"
            )
        return found


def is_pattern(text: str) -> bool:
    """Whether an entry of `tenants` may stand for several."""
    return any(char in text for char in "*?[")


def is_local(host: str) -> bool:
    """Whether a host is this machine, as far as its name says."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
