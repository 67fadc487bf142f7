"""The project's own metrics sent to receivers the way series are, for who has nothing that scrapes.

No receipts: a metric of health that is lost is made anew half a minute later. Which metrics there are is `health`'s.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from pyro_assets.export.batch import prepare
from pyro_assets.export.client import Client
from pyro_assets.export.receivers import Receiver
from pyro_assets.export.samples import Samples, read_samples
from pyro_assets.pipeline.health import Family
from pyro_assets.series.frame import SCHEMA

#: The tenant of the project's own metrics, for receivers' lists of tenants and X-Scope-OrgID.
TENANT: Final = "pyro-assets"
_RULE: Final = "health"


def samples_of(families: Iterable[Family], now_ms: int, instance: str) -> Samples:
    """Metrics as samples of now, with the labels `job` and `instance` that scraping would have added."""
    rows: list[dict[str, Any]] = [
        {
            "tenant": TENANT,
            "metric": family.name + suffix,
            "labels": [
                {"name": name, "value": text}
                for name, text in sorted([*labels, ("job", TENANT), ("instance", instance)])
            ],
            "timestamp_ms": now_ms,
            "value": float(value),
            "value_int": None,
            "rule": _RULE,
            "job": "",
        }
        for family in families
        for suffix, labels, value in family.samples
    ]
    return read_samples(pa.Table.from_pylist(rows, schema=SCHEMA))


def push(samples: Samples, receivers: Sequence[Receiver], secrets: Mapping[str, str], now_ms: int) -> dict[str, str]:
    """Sends samples once to every receiver that takes their tenant.

    Returns:
        Receiver -> why it did not get them, "" where it did; never a secret.
    """
    troubles = {}
    for receiver in receivers:
        # A receiver that is down must not make the next push late.
        patient = receiver.model_copy(update={"retry_for_ms": min(receiver.retry_for_ms, 5_000)})
        with Client(patient, secrets) as client:
            report = client.send(prepare(samples, patient, now_ms).batches())
        refused = report.refused.examples
        troubles[receiver.name] = str(report.error or (refused[0] if refused else ""))
    return troubles
