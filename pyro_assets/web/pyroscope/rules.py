"""settings.v1.RecordingRulesService over HTTP: our rules in the form of Pyroscope's.

What the form can say, and who may change which rule, is known by `explore.pyroscope.recording_rules`.
"""

from typing import Any, Final

from starlette.requests import Request

from pyro_assets.explore.pyroscope.messages import rules_pb2
from pyro_assets.explore.pyroscope.recording_rules import RecordingRules
from pyro_assets.web.pyroscope.connect import Answer, Method, tenant_of
from pyro_assets.web.site import Site

SERVICE: Final = "settings.v1.RecordingRulesService"
#: What changes nothing.
READING: Final = frozenset(("POST", f"/{SERVICE}/{name}") for name in ("GetRecordingRule", "ListRecordingRules"))
#: How many rules of the tenant the form cannot express.
LEFT_OUT_HEADER: Final = "Pyro-Assets-Rules-Left-Out"


def methods(site: Site) -> list[Method]:
    """The service's methods."""
    ledger = site.pipeline.ledger
    rules = RecordingRules(
        site.rules,
        lambda edit, author, why: ledger.edit_rules([edit], author=author, why=why, now_ms=site.clock())[0],
    )

    def show(message: Any, request: Request) -> Answer:
        return Answer(rules_pb2.GetRecordingRuleResponse(rule=rules.get(message, tenant_of(request))))

    def show_all(_: Any, request: Request) -> Answer:
        book = rules.list(tenant_of(request))
        answer = rules_pb2.ListRecordingRulesResponse(rules=[one.form for one in book.listed])
        return Answer(answer, {LEFT_OUT_HEADER: str(book.left_out)} if book.left_out else {})

    def upsert(message: Any, request: Request) -> Answer:
        rule = rules.upsert(message, tenant_of(request), request.state.user)
        return Answer(rules_pb2.UpsertRecordingRuleResponse(rule=rule))

    def delete(message: Any, request: Request) -> Answer:
        rules.delete(message, tenant_of(request), request.state.user)
        return Answer(rules_pb2.DeleteRecordingRuleResponse())

    return [
        Method(SERVICE, "GetRecordingRule", rules_pb2.GetRecordingRuleRequest, show),
        Method(SERVICE, "ListRecordingRules", rules_pb2.ListRecordingRulesRequest, show_all),
        Method(SERVICE, "UpsertRecordingRule", rules_pb2.UpsertRecordingRuleRequest, upsert),
        Method(SERVICE, "DeleteRecordingRule", rules_pb2.DeleteRecordingRuleRequest, delete),
    ]
