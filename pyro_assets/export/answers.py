"""What a receiver's answer means: done, again later, these samples not, too large, or nothing will ever work.

Pure functions of status, headers and text, from what receivers were seen to answer. Waiting and splitting are
`client`'s; the texts only ever choose the words of a report, never whether something is sent again.
"""

import re
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final

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
    """What to do with an answer."""

    ACCEPTED = "accepted"
    RETRY = "retry"
    REFUSED = "refused"
    TOO_LARGE = "too large"
    MISCONFIGURED = "misconfigured"


@dataclass(frozen=True, slots=True)
class Answer:
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
        """Whether a page for people came back: another program listens there, or a login page is in between."""
        return self.content_type.startswith("text/html") or _HTML.match(self.text) is not None

    def __str__(self) -> str:
        text = " ".join(self.text.split())
        shown = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
        if self.is_html and self.status:
            shown = "a HTML page"
        status = f"status {self.status}" if self.status else "no answer"
        return f"{status}: {shown}" if shown else status


def verdict(answer: Answer) -> Verdict:
    """What to do.

    >>> [verdict(Answer(status)).name for status in (204, 429, 400, 413, 401)]
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


def advice(answer: Answer, *, has_credentials: bool) -> str:
    """What a person can do about an answer that says nothing will ever work."""
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
