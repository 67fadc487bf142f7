"""Checks a receiver without sending a sample: that it answers and accepts us, its product, version and settings.

A WriteRequest without series is the question: Prometheus, VictoriaMetrics and Mimir answer it with success and store
nothing, and path, credentials and protocol are checked as for samples. Add a warning where a setting of the receiver
breaks the promise that every sample counts once.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import yaml

from pyro_assets.errors import ExportError, ReceiverMisconfigured
from pyro_assets.export.promql import query_base
from pyro_assets.export.remote_write.encode import EMPTY_REQUEST, compress, encode_series_without_samples
from pyro_assets.export.remote_write.transport import HttpAnswer, Transport, Verdict, advice, verdict
from pyro_assets.receivers.model import HEADER_VALUE, Receiver, is_pattern, parse_duration_ms, show_duration

_VM_VERSION: Final = re.compile(r'vm_app_version\{[^}]*short_version="([^"]*)"')
_VM_PRODUCT: Final = re.compile(r'vm_app_version\{[^}]*[^_]version="([^"]*)"')
_VM_DEDUP: Final = re.compile(r'dedup\.minScrapeInterval="?([0-9a-z]+)"?')
_VM_RETENTION: Final = re.compile(r'retentionPeriod="?([0-9a-z.]+)"?')
_CONFIG_BYTES: Final = 4 << 20
_LINE_CHARACTERS: Final = 1024
_SERIES_WITHOUT_SAMPLES: Final = encode_series_without_samples({"__name__": "pyro_assets_check", "label.name": "utf8"})
_FIRST_UTF8_PROMETHEUS: Final = 3


@dataclass(slots=True)
class ReceiverCheck:
    """The result of checking a receiver.

    Attributes:
        name: of the receiver.
        answers: something answered.
        accepts: it would take samples from us, of every tenant: path, protocol and credentials are right.
        tenants: X-Scope-OrgID that it was asked about -> why it would take no samples, "" where it would.
        product: as the receiver names itself, "" when it does not; may differ from the configured kind.
        version: of it, "" when it does not say.
        problems: why nothing can be sent.
        warnings: what to set, there or in the file of receivers.
        seconds: of its answer to a request without samples.
    """

    name: str
    answers: bool = False
    accepts: bool = False
    product: str = ""
    version: str = ""
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    tenants: dict[str, str] = field(default_factory=dict)


def check_receiver(receiver: Receiver, environ: Mapping[str, str], tenants: Iterable[str] = ()) -> ReceiverCheck:
    """Check one receiver; sends no sample and raises nothing that is about the receiver.

    Args:
        receiver: which one.
        environ: where secrets that are environment variables are looked up.
        tenants: to ask about, beside those that the receiver names.
    """
    check = ReceiverCheck(receiver.name, warnings=receiver.warnings())
    named = [tenant for tenant in receiver.tenants if not is_pattern(tenant)]
    taken = sorted(tenant for tenant in tenants if receiver.takes_tenant(tenant))
    # Mimir wants some X-Scope-OrgID; any will do where no tenant is known.
    wanted = dict.fromkeys(map(receiver.org_of, [*named, *receiver.org_ids, *taken]))
    # A name that cannot be a header is refused before it is sent, sample by sample.
    orgs = [org for org in wanted if HEADER_VALUE.fullmatch(org)] or [receiver.org_of("anonymous")]
    try:
        with Transport(receiver, environ) as transport:
            for org_id in orgs:
                _judge(transport.write(compress(EMPTY_REQUEST), org_id), receiver, check, org_id)
                if not check.answers:
                    break
            check.accepts = check.answers and not any(check.tenants.values())
            if check.answers:
                _look(transport, next(iter(orgs)), check)
            if check.accepts and receiver.label_names == "utf8":
                _check_names(transport, next(iter(orgs)), check)
    except ExportError as error:
        check.problems.append(str(error))
    return check


def _judge(answer: HttpAnswer, receiver: Receiver, check: ReceiverCheck, org_id: str) -> None:
    what = verdict(answer)
    if not check.tenants:
        check.answers, check.seconds = answer.status != 0, answer.seconds
    hint = advice(answer, has_credentials=bool(receiver.secret_refs)) if what is Verdict.MISCONFIGURED else ""
    check.tenants[org_id] = "" if what is Verdict.ACCEPTED else f"{hint} ({answer})" if hint else str(answer)
    if check.tenants[org_id]:
        of_tenant = f", tenant {org_id!r}" if check.answers else ""
        check.problems.append(f"{receiver.shown_url}{of_tenant}: {check.tenants[org_id]}")


def _look(transport: Transport, org_id: str, check: ReceiverCheck) -> None:
    """Asks the receiver for its product, version and settings; every question may stay without an answer."""
    receiver = transport.receiver
    try:
        base = query_base(receiver)
    except ReceiverMisconfigured as error:
        check.warnings.append(f"{error}; reconcile needs it")
        return
    build = _json(transport.get(f"{base}/api/v1/status/buildinfo", {}, org_id))
    if isinstance(build, dict):
        check.product = str(build.get("application") or "")
        check.version = str(build.get("version") or "")
    # VictoriaMetrics plays a Prometheus of some version there; its own is among its metrics.
    root = _beside_write(receiver)
    metrics = transport.get(f"{root}/metrics", {}, max_bytes=_CONFIG_BYTES)
    # Only the line itself is looked through: what else stands there is the receiver's to choose.
    begin = metrics.text.find("vm_app_version{") if metrics.status == 200 else -1
    if begin >= 0:
        line = metrics.text[begin : begin + _LINE_CHARACTERS]
        version = _VM_VERSION.match(line) or _VM_PRODUCT.match(line)
        check.product, check.version = "VictoriaMetrics", version[1] if version else ""
        _look_at_victoriametrics(transport, root, check)
        return
    flags = _json(transport.get(f"{base}/api/v1/status/flags", {}, org_id, _CONFIG_BYTES))
    config = _json(transport.get(f"{base}/api/v1/status/config", {}, org_id, _CONFIG_BYTES))
    if isinstance(flags, dict) and "web.enable-remote-write-receiver" in flags:
        check.product = check.product or "Prometheus"
        _look_at_prometheus(receiver, config, check)


def _check_names(transport: Transport, org_id: str, check: ReceiverCheck) -> None:
    """Whether label names that are not legal everywhere arrive: a series that has one and no sample is sent."""
    remedy = "write label_names: underscores or values"
    answer = transport.write(compress(_SERIES_WITHOUT_SAMPLES), org_id)
    if verdict(answer) is not Verdict.ACCEPTED:
        check.problems.append(f"it does not take label_names: utf8 ({answer}); {remedy}, or allow them there")
    major = check.version.lstrip("v").partition(".")[0]
    # It acknowledges such series and drops them.
    if check.product == "Prometheus" and major.isdigit() and int(major) < _FIRST_UTF8_PROMETHEUS:
        check.problems.append(f"Prometheus {check.version} drops series with label_names: utf8 silently; {remedy}")


def _look_at_prometheus(receiver: Receiver, config: Any, check: ReceiverCheck) -> None:
    _expect_kind(receiver, "prometheus", check)
    text = config.get("yaml") if isinstance(config, dict) else None
    if not isinstance(text, str):
        return
    try:
        document = yaml.safe_load(text)
        scheme = ((document or {}).get("global") or {}).get("metric_name_validation_scheme")
        if scheme == "legacy" and receiver.label_names == "utf8":
            check.problems.append(
                "metric_name_validation_scheme: legacy is set there, so series with label_names: utf8 may be dropped "
                "silently; remove it there, or write label_names: underscores"
            )
        tsdb = ((document or {}).get("storage") or {}).get("tsdb") or {}
        window_ms = parse_duration_ms(str(tsdb.get("out_of_order_time_window") or "0"))
    except (yaml.YAMLError, AttributeError, ValueError):
        return
    declared = receiver.out_of_order_window_ms or 0
    if declared > window_ms:
        check.warnings.append(
            f"out_of_order_window is declared as {show_duration(declared)}, the receiver has "
            f"{show_duration(window_ms)}: set storage.tsdb.out_of_order_time_window there, or declare what it has"
        )
    elif declared < window_ms:
        check.warnings.append(
            f"the receiver has an out-of-order window of {show_duration(window_ms)}; declare out_of_order_window: "
            f"{show_duration(window_ms)} to use it"
        )


def _look_at_victoriametrics(transport: Transport, root: str, check: ReceiverCheck) -> None:
    receiver = transport.receiver
    _expect_kind(receiver, "victoriametrics", check)
    flags = transport.get(f"{root}/flags", {}, max_bytes=_CONFIG_BYTES)
    if flags.status != 200 or flags.is_html:
        return
    dedup = _VM_DEDUP.search(flags.text)
    has_dedup = dedup is not None and _milliseconds(dedup[1]) > 0
    if receiver.dedup and not has_dedup:
        check.warnings.append(
            "dedup is declared, but it runs without -dedup.minScrapeInterval: a sample that is sent twice counts twice"
        )
    elif has_dedup and not receiver.dedup:
        check.warnings.append("it runs with -dedup.minScrapeInterval; write dedup: true")
    if dedup is not None and _milliseconds(dedup[1]) > 1:
        check.warnings.append(
            f"-dedup.minScrapeInterval={dedup[1]} keeps one sample of a series in that time, so samples of other "
            "blocks are lost; set it to 1ms"
        )
    retention = _VM_RETENTION.search(flags.text)
    # A number alone is months there.
    kept_ms = receiver.product.retention_ms or 0
    if retention is not None:
        number = retention[1]
        kept_ms = int(float(number) * 31 * 86_400_000) if number.replace(".", "").isdigit() else _milliseconds(number)
    declared = receiver.retention_ms or receiver.product.retention_ms or 0
    if kept_ms and declared > kept_ms:
        check.warnings.append(
            f"retention is declared as {show_duration(declared)}, the receiver keeps {show_duration(kept_ms)} and "
            "silently drops what is older"
        )


def _expect_kind(receiver: Receiver, kind: str, check: ReceiverCheck) -> None:
    if receiver.kind != kind:
        check.warnings.append(f"it is a {check.product}; write kind: {kind} (now: {receiver.kind})")


def _milliseconds(text: str) -> int:
    try:
        return parse_duration_ms(text)
    except ValueError:
        return 0


def _beside_write(receiver: Receiver) -> str:
    parts = urlsplit(receiver.url)
    path = re.sub(r"/(?:api/v1/write|api/v1/push|api/prom/push)$", "", parts.path)
    return urlunsplit((parts.scheme, parts.netloc, path, "", "")).rstrip("/")


def _json(answer: HttpAnswer) -> Any:
    if answer.status != 200:
        return None
    try:
        return json.loads(answer.text).get("data")
    except (ValueError, AttributeError, RecursionError):
        return None
