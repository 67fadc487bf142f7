"""Settings of a receiver that contradict each other, or would merge series: what no single field shows.

Add a check where a receiver could lose, mix or leak something without anybody noticing. Each yields the field to
blame and what to write instead; single fields are checked by their models.
"""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from pyro_assets.receivers.model import HEADER_NAME, HEADER_VALUE, SECRETIVE, Receiver, is_pattern
from pyro_assets.rules.names import (
    FUNCTION_LABEL,
    INSTANCE_LABEL,
    RULE_ID_LABEL,
    SHARD_LABEL,
    TENANT_LABEL,
    is_label_name,
)
from pyro_assets.rules.validation import FieldProblem
from pyro_assets.rules.yaml_text import Path

#: Labels that series have already, and by which they differ.
NATIVE_LABELS: Final = frozenset({FUNCTION_LABEL, SHARD_LABEL, RULE_ID_LABEL, INSTANCE_LABEL, "service_name"})
#: Set by us for every request; another value would break it.
PROTOCOL_HEADERS: Final = frozenset(
    {
        "content-type", "content-encoding", "content-length", "transfer-encoding", "host", "connection", "expect",
        "user-agent", "x-prometheus-remote-write-version", "retry-attempt",
    }
)  # fmt: skip


def receiver_problems(receiver: Receiver) -> Iterator[FieldProblem]:
    """The contradictions in one receiver: path of the field and why."""
    yield from _tenant_problems(receiver)
    yield from _credential_problems(receiver)
    yield from _label_problems(receiver)
    yield from _time_problems(receiver)


def _tenant_problems(receiver: Receiver) -> Iterator[FieldProblem]:
    label = receiver.effective_tenant_label
    if receiver.org_id is not None and receiver.org_ids:
        yield ("org_ids",), "org_id says already under which name everything is sent; write one of the two"
    for place, org in (
        (("org_id",), receiver.org_id),
        *((("org_ids", k), v) for k, v in receiver.org_ids.items()),
    ):
        if org is not None and not HEADER_VALUE.fullmatch(org):
            yield place, "must be visible ASCII characters, as a header has them"
    for tenant in receiver.org_ids:
        if not receiver.takes_tenant(tenant):
            yield ("org_ids", tenant), "this tenant is not among `tenants`, so nothing is sent for it"
    if label is not None or receiver.only_tenant is not None:
        return
    name = f"add `tenant_label: {TENANT_LABEL}`, or name the one tenant under `tenants`"
    if receiver.org_id is not None:
        yield (
            ("org_id",),
            "several tenants are sent under one X-Scope-OrgID and no label tells them apart, so their series would "
            f"become one; {name}",
        )
    elif not receiver.product.knows_tenants:
        why = "knows no X-Scope-OrgID" if receiver.kind != "generic" else "may know no X-Scope-OrgID"
        yield (
            ("tenant_label",),
            f"a receiver of kind {receiver.kind} {why}: without a label series of several tenants would become one; "
            f"{name}",
        )
    orgs: dict[str, str] = {}
    explicit = [tenant for tenant in receiver.tenants if not is_pattern(tenant) and tenant not in receiver.org_ids]
    for tenant in [*explicit, *receiver.org_ids]:
        first = orgs.setdefault(receiver.org_of(tenant), tenant)
        if first != tenant and receiver.org_id is None:
            yield ("org_ids", tenant), f"the tenants {first!r} and {tenant!r} share an X-Scope-OrgID; {name}"


def _credential_problems(receiver: Receiver) -> Iterator[FieldProblem]:
    if receiver.basic_auth is not None and receiver.bearer_token is not None:
        yield (
            ("bearer_token",),
            "basic_auth is set too, and there is one Authorization header; write one of the two",
        )
    has_auth = receiver.basic_auth is not None or receiver.bearer_token is not None
    if receiver.basic_auth is not None and ":" in str(receiver.basic_auth.username):
        yield ("basic_auth", "username"), "must not hold a colon, which ends the user in basic authentication"
    seen: dict[str, str] = {}
    for name, value in receiver.headers.items():
        place: Path = ("headers", name)
        lower = name.lower()
        if not HEADER_NAME.fullmatch(name):
            yield place, "is no name of a header"
        elif lower in PROTOCOL_HEADERS:
            yield place, "is part of the protocol and cannot be set"
        elif lower == "x-scope-orgid":
            yield place, "write org_id (fixed) or org_ids (per tenant) instead"
        elif lower == "authorization" and has_auth:
            yield place, "basic_auth or bearer_token sets it already; write one of the two"
        elif isinstance(value, str) and SECRETIVE.search(name):
            yield (
                place,
                "looks like a secret, which never stands in this file; write {env: NAME} or {file: PATH}",
            )
        elif lower in seen:
            yield place, f"is the same header as {seen[lower]!r}; remove one"
        seen[lower] = name
    tls, is_https = receiver.tls, urlsplit(receiver.url).scheme == "https"
    if tls.key_file is not None and tls.cert_file is None:
        yield ("tls", "key_file"), "a key without cert_file; write both"
    if tls.insecure_skip_verify and tls.ca_file is not None:
        yield (
            ("tls", "insecure_skip_verify"),
            "ca_file says whom to trust, this says everybody; write one of the two",
        )
    if not is_https and tls != type(tls)():
        yield ("tls",), "the URL is http://, where there is no TLS; write https:// or remove this"


def _label_problems(receiver: Receiver) -> Iterator[FieldProblem]:
    label = receiver.effective_tenant_label
    names = [(("labels", name), name) for name in receiver.labels]
    places: list[tuple[Path, str]] = [*names, *([(("tenant_label",), label)] if label is not None else [])]
    for place, name in places:
        if not is_label_name(name):
            yield place, f"{name!r} is no name of a label; use letters, digits and _, no digit or __ first"
        elif name in NATIVE_LABELS:
            yield place, f"series have a label {name!r} already; choose another name"
        elif receiver.max_label_name_bytes is not None and len(name) > receiver.max_label_name_bytes:
            yield place, f"is longer than the receiver's {receiver.max_label_name_bytes} bytes"
    if label is not None and label in receiver.labels:
        yield ("labels", label), "is the label of the tenant too; choose another name or remove one"
    for name, value in receiver.labels.items():
        if receiver.max_label_value_bytes is not None and len(value.encode()) > receiver.max_label_value_bytes:
            yield ("labels", name), f"is longer than the receiver's {receiver.max_label_value_bytes} bytes"
    fixed = len(receiver.labels) + (label is not None) + 1
    if receiver.max_labels is not None and fixed >= receiver.max_labels:
        yield ("labels",), f"leave no room for a series' own labels: the limit is {receiver.max_labels}"


def _time_problems(receiver: Receiver) -> Iterator[FieldProblem]:
    window, retention = receiver.out_of_order_window_ms, receiver.retention_ms
    if receiver.kind == "victoriametrics" and window is not None:
        yield (
            ("out_of_order_window",),
            "VictoriaMetrics has none, it takes any age inside its retention; remove this",
        )
    if receiver.kind in ("prometheus", "mimir") and receiver.dedup:
        yield ("dedup",), "is about VictoriaMetrics; for this kind declare out_of_order_window"
    if window is not None and retention is not None and window > retention > 0:
        yield ("out_of_order_window",), "is longer than the retention; what is taken would be deleted at once"
    if retention == 0:
        yield ("retention",), "must be longer than 0; leave it out where everything is kept"
    rate = receiver.limits.samples_per_second
    if rate is not None and rate * receiver.retry_for_ms < 1000 and receiver.retry_for_ms:
        yield (
            ("limits", "samples_per_second"),
            "lets less than one sample through before retry_for ends; raise it",
        )
