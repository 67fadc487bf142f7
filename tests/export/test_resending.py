"""What a receiver lost after it had acknowledged is sent to it once more; receipts stay."""

from pathlib import Path

from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.operations import sending
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms
from tests.support.exports import HOUR, derive, expected, got, opened, scripted
from tests.support.scripted_server import Reply, scripted_server

BEGIN_MS = hour_start_ms(HOUR)
SPAN = (BEGIN_MS, BEGIN_MS + HOUR_MS)


def test_what_a_receiver_lost_is_sent_again_and_receipts_stay(tmp_path: Path):
    with scripted_server() as server, opened(tmp_path, scripted(server)) as pipeline:
        derive(pipeline)
        assert sending.send_again(pipeline, "r", *SPAN).summary == "nothing to send"  # nothing was acknowledged yet
        sending.export(pipeline, [HOUR])
        receipts = ReceiptRecords(pipeline.ledger).receipts_between("r", *SPAN)
        files = sorted((tmp_path / "archive/receipts").rglob("*.json"))
        server.requests.clear()  # it lost everything
        done = sending.send_again(pipeline, "r", *SPAN)
        assert got(server) == expected(tmp_path)
        assert (done.jobs, done.samples, done.error) == (3, sum(map(len, expected(tmp_path).values())), "")
        assert ReceiptRecords(pipeline.ledger).receipts_between("r", *SPAN) == receipts
        assert sorted((tmp_path / "archive/receipts").rglob("*.json")) == files
        assert sending.export(pipeline, [HOUR])["r"].summary == "nothing to send"
        server.requests.clear()
        assert sending.send_again(pipeline, "r", BEGIN_MS - HOUR_MS, BEGIN_MS).samples == 0
        assert server.requests == []


def test_what_is_still_owed_is_not_sent_again_and_a_tenants_trouble_is_its_own(tmp_path: Path):
    with scripted_server() as server, opened(tmp_path, scripted(server, kind="mimir", retry_for="0s")) as pipeline:
        derive(pipeline)
        bad = next(iter({dict(labels)["tenant"] for labels in expected(tmp_path)}))

        def limited(request):  # type: ignore[no-untyped-def]
            return Reply(429) if request.headers["X-Scope-OrgID"] == bad else 204

        server.default = limited
        sending.export(pipeline, [HOUR])
        server.default = 204
        server.requests.clear()
        done = sending.send_again(pipeline, "r", *SPAN)
        assert done.error == ""
        assert bad not in {request.headers["X-Scope-OrgID"] for request in server.requests}
        sending.export(pipeline, [HOUR])
        server.requests.clear()
        server.default = limited
        done = sending.send_again(pipeline, "r", *SPAN)
        assert list(done.held) == [bad]
        assert 0 < done.samples < sum(map(len, expected(tmp_path).values()))
