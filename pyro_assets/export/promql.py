"""Questions to a receiver in PromQL: where its API is, and raw samples of one metric as they are stored.

Only the HTTP API of Prometheus that all kinds have is used. What answers are compared with is `reconcile`'s.
"""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import yaml

from pyro_assets.errors import BadAnswer, ExportError, ReceiverMisconfigured, ReceiverUnavailable
from pyro_assets.export.files import escape, quote_name
from pyro_assets.export.remote_write.transport import (
    Clock,
    HttpAnswer,
    SystemClock,
    Transport,
    advice,
    retry_after_seconds,
)
from pyro_assets.receivers.model import Receiver

MAX_ANSWER_BYTES: Final = 512 << 20
_ATTEMPTS: Final = 5
_FIRST_PAUSE_SECONDS: Final = 0.5

#: Sorted labels, `__name__` included.
LabelSet = tuple[tuple[str, str], ...]


def query_base(receiver: Receiver) -> str:
    """The URL below which `/api/v1/query` is.

    >>> query_base(Receiver(name="a", url="https://h/prom/api/v1/write", kind="prometheus"))
    'https://h/prom'
    >>> query_base(Receiver(name="a", url="http://h/api/v1/push", kind="mimir"))
    'http://h/prometheus'
    >>> query_base(Receiver(name="a", url="https://h/api/prom/push", kind="mimir"))
    'https://h/api/prom'

    Raises:
        ReceiverMisconfigured: it cannot be told from the URL for samples.
    """
    if receiver.query_url is not None:
        return receiver.query_url.rstrip("/")
    parts = urlsplit(receiver.url)
    for ending, base in (("/api/v1/write", ""), ("/api/v1/push", "/prometheus"), ("/api/prom/push", "/api/prom")):
        if parts.path.endswith(ending):
            path = parts.path.removesuffix(ending) + base
            return urlunsplit((parts.scheme, parts.netloc, path, "", "")).rstrip("/")
    raise ReceiverMisconfigured(
        f"receiver {receiver.name}: where its PromQL API is cannot be told from {receiver.shown_url}; set query_url",
        receiver=receiver.name,
    )


def selector(labels: Mapping[str, str]) -> str:
    r"""A PromQL selector of series with these labels.

    >>> print(selector({"__name__": "m", "tenant": 'a"b'}))
    {__name__="m",tenant="a\"b"}
    """
    return "{" + ",".join(f'{quote_name(name)}="{escape(value)}"' for name, value in labels.items()) + "}"


class PromQLClient:
    """Asks one receiver; retries what may be a passing trouble.

    Args:
        transport: to the receiver.
        clock: waits between attempts.
    """

    def __init__(self, transport: Transport, clock: Clock | None = None) -> None:
        self._transport = transport
        self._receiver = transport.receiver
        self._clock: Clock = clock or SystemClock()
        self._base = query_base(self._receiver)

    def raw_samples(
        self, labels: Mapping[str, str], begin_ms: int, end_ms: int, org_id: str = ""
    ) -> dict[LabelSet, dict[int, list[float]]]:
        """Samples as stored, of all series that have these labels.

        A range vector is asked for, not a range query: that would show the last sample again at every step.

        Args:
            labels: that series must have.
            begin_ms: the first millisecond.
            end_ms: the first millisecond that is not asked for any more.
            org_id: the X-Scope-OrgID to ask under.

        Returns:
            Labels of each series -> timestamp_ms -> values: more than one where the receiver keeps duplicates.

        Raises:
            ReceiverMisconfigured, ReceiverUnavailable, BadAnswer, SecretMissing.
        """
        # Prometheus 2 counts the sample at the range's begin, Prometheus 3 does not: ask for one more and cut.
        last_ms = end_ms - 1
        query = f"{selector(labels)}[{last_ms - begin_ms + 1}ms]"
        data = self.ask("/api/v1/query", {"query": query, "time": f"{last_ms // 1000}.{last_ms % 1000:03d}"}, org_id)
        if not isinstance(data, dict) or data.get("resultType") != "matrix":
            raise self._bad("an answer without series and samples", "/api/v1/query")
        found: dict[LabelSet, dict[int, list[float]]] = {}
        try:
            for series in data["result"]:
                named = tuple(sorted((str(name), str(value)) for name, value in series["metric"].items()))
                values = found.setdefault(named, {})
                for seconds, value in series.get("values", []):
                    if begin_ms <= (time := round(float(seconds) * 1000)) < end_ms:
                        values.setdefault(time, []).append(float(value))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._bad("an answer without series and samples", "/api/v1/query") from None
        return found

    def metric_names(self, matching: str, begin_ms: int, end_ms: int, org_id: str = "") -> list[str]:
        """Names of metrics with series that a selector selects, with a sample between two times, or about then.

        Raises:
            ReceiverMisconfigured, ReceiverUnavailable, BadAnswer, SecretMissing.
        """
        form = {"match[]": matching, "start": f"{begin_ms / 1000:.3f}", "end": f"{end_ms / 1000:.3f}"}
        names = self.ask("/api/v1/label/__name__/values", form, org_id, is_get=True)
        if not isinstance(names, list):
            raise self._bad("an answer without names", "/api/v1/label")
        return [str(name) for name in names]

    def refuse_what_it_reads(self) -> None:
        """Asks a Prometheus for its own configuration: what it reads from elsewhere it answers as if it held it.

        Raises:
            ReceiverMisconfigured: it reads from elsewhere, perhaps from this very archive.
        """
        if self._receiver.kind != "prometheus":
            return
        try:
            document = self.ask("/api/v1/status/config", {}, is_get=True)
            reads = yaml.safe_load(document["yaml"]).get("remote_read")
        except (ExportError, yaml.YAMLError, KeyError, TypeError, AttributeError):
            return  # not everything that is called so has this address, and what else is wrong the first query tells
        if reads:
            urls = ", ".join(str(one.get("url", "?")).partition("?")[0] for one in reads)
            raise ReceiverMisconfigured(
                f"receiver {self._receiver.name} answers with what it reads from {urls} (remote_read in its "
                "configuration), so nobody can tell what it holds; let query_url name a Prometheus without it, or take "
                "it out for the comparison",
                receiver=self._receiver.name,
            )

    def ask(self, path: str, form: Mapping[str, str], org_id: str = "", *, is_get: bool = False) -> Any:
        """The `data` of an answer of the API.

        Raises:
            ReceiverMisconfigured, ReceiverUnavailable, BadAnswer, SecretMissing.
        """
        send = self._transport.get if is_get else self._transport.post_form
        for attempt in range(_ATTEMPTS):
            answer = send(self._base + path, form, org_id, MAX_ANSWER_BYTES)
            if answer.status == 200 and not answer.is_html:
                return self._data(answer, path)
            if answer.status not in (0, 408, 425, 429) and answer.status < 500:
                break
            if attempt + 1 < _ATTEMPTS:
                asked = retry_after_seconds(answer.retry_after, self._clock.time())
                self._clock.sleep(_FIRST_PAUSE_SECONDS * 2**attempt if asked is None else min(asked, 30.0))
        else:
            raise ReceiverUnavailable(f"receiver {self._receiver.name}: {answer}", receiver=self._receiver.name)
        if answer.status in (400, 422):
            raise self._bad(str(answer), path)
        hint = advice(answer, has_credentials=bool(self._receiver.secret_refs))
        if answer.status == 404:
            hint = "its PromQL API is not there; set query_url"
        raise ReceiverMisconfigured(
            f"receiver {self._receiver.name} ({self._base}{path}): {hint} ({answer})", receiver=self._receiver.name
        )

    def _data(self, answer: HttpAnswer, path: str) -> Any:
        try:
            document = json.loads(answer.text)
            if document["status"] == "success":
                return document["data"]
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        raise self._bad(self._transport.redactor.redact(str(answer)), path)

    def _bad(self, what: str, path: str) -> BadAnswer:
        return BadAnswer(
            f"receiver {self._receiver.name}: {self._base}{path} answers {what}; is query_url its PromQL API?",
            receiver=self._receiver.name,
        )
