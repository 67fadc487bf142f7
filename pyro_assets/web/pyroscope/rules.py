"""settings.v1.RecordingRulesService over HTTP: our rules in the form of Pyroscope's.

What the form can say, and who may change which rule, is known by `explore.pyroscope.recording_rules`.
"""

from typing import Any, Final

from starlette.requests import Request

from pyro_assets.explore.pyroscope.messages import rules_pb2
from pyro_assets.explore.pyroscope.recording_rules import RecordingRules
from pyro_assets.rules.stored import StoredRules
from pyro_assets.web.pyroscope.connect import ConnectAnswer, ConnectMethod, tenant_of
from pyro_assets.web.site import Site

SERVICE: Final = "settings.v1.RecordingRulesService"
#: What changes nothing.
READING: Final = frozenset(("POST", f"/{SERVICE}/{name}") for name in ("GetRecordingRule", "ListRecordingRules"))
#: How many rules of the tenant the form cannot express.
LEFT_OUT_HEADER: Final = "Pyro-Assets-Rules-Left-Out"


def methods(site: Site) -> list[ConnectMethod]:
    """The service's methods."""
    ledger = site.app.ledger
    rules = RecordingRules(
        site.rules,
        lambda edit, author, why: StoredRules(ledger).edit_rules([edit], author=author, why=why, now_ms=site.clock())[
            0
        ],
    )

    def show(message: Any, request: Request) -> ConnectAnswer:
        return ConnectAnswer(rules_pb2.GetRecordingRuleResponse(rule=rules.get(message, tenant_of(request))))

    def show_all(_: Any, request: Request) -> ConnectAnswer:
        book = rules.list(tenant_of(request))
        answer = rules_pb2.ListRecordingRulesResponse(rules=[one.form for one in book.listed])
        return ConnectAnswer(answer, {LEFT_OUT_HEADER: str(book.left_out)} if book.left_out else {})

    def upsert(message: Any, request: Request) -> ConnectAnswer:
        rule = rules.upsert(message, tenant_of(request), request.state.user)
        return ConnectAnswer(rules_pb2.UpsertRecordingRuleResponse(rule=rule))

    def delete(message: Any, request: Request) -> ConnectAnswer:
        rules.delete(message, tenant_of(request), request.state.user)
        return ConnectAnswer(rules_pb2.DeleteRecordingRuleResponse())

    return [
        ConnectMethod(SERVICE, "GetRecordingRule", rules_pb2.GetRecordingRuleRequest, show),
        ConnectMethod(SERVICE, "ListRecordingRules", rules_pb2.ListRecordingRulesRequest, show_all),
        ConnectMethod(SERVICE, "UpsertRecordingRule", rules_pb2.UpsertRecordingRuleRequest, upsert),
        ConnectMethod(SERVICE, "DeleteRecordingRule", rules_pb2.DeleteRecordingRuleRequest, delete),
    ]
