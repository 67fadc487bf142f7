"""What a person says of S3 in fsspec's own configuration holds beside what we say, tried against a server."""

import json
from collections.abc import Callable

import fsspec
import pytest
import s3fs
from faulty_proxy import faulty_proxy
from s3_server import s3, s3_endpoint

from pyro_assets.storage.bucket import open_bucket

__all__ = ["s3", "s3_endpoint"]

pytestmark = pytest.mark.service

KEY = "segments/4/anonymous/01M891VPM4XX31MPMZXPGM0RM0/block.bin"


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the variable FSSPEC_S3, which fsspec reads when it is imported."""

    def set_options(**options: object) -> None:
        conf: dict[str, object] = {}
        fsspec.config.set_conf_env(conf, {"FSSPEC_S3": json.dumps(options)})
        monkeypatch.setitem(fsspec.config.conf, "s3", conf["s3"])
        s3fs.S3FileSystem.clear_instance_cache()

    return set_options


def test_who_asks_pays(s3: str, s3_endpoint: str, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch):
    open_bucket(s3, True).replace(KEY, b"bytes")
    with faulty_proxy(s3_endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        configure(requester_pays=True)
        bucket = open_bucket(s3)
        (listed,) = bucket.list_after("segments/")
        assert bucket.list_folder("segments/").folders == ("4",)
        assert (bucket.size(KEY), bucket.read(KEY), bucket.get_range(KEY, 0, 2)) == (5, b"bytes", b"by")
        assert bucket.get_many([listed]) == [b"bytes"]
    assert len(proxy.requests) >= 6
    payers = [headers.get("x-amz-request-payer") for headers in proxy.headers]
    assert payers == ["requester"] * len(proxy.requests)


def test_objects_are_encrypted_by_a_key_of_kms(s3: str, configure: Callable[..., None]):
    import boto3

    configure(s3_additional_kwargs={"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-of-ours"})
    bucket = open_bucket(s3, True)
    bucket.create("commits/a.json", b"{}")
    bucket.replace("series/b.parquet", b"rows")
    name, _, prefix = s3.removeprefix("s3://").partition("/")
    client = boto3.client("s3")
    for key in ("commits/a.json", "series/b.parquet"):
        found = client.head_object(Bucket=name, Key=f"{prefix}/{key}")
        assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", "key-of-ours")
    client.close()
    assert bucket.read("commits/a.json") == b"{}"


@pytest.mark.parametrize("style", ["path", "virtual"])
def test_the_style_of_addresses_is_theirs_and_our_patience_stays(s3: str, configure: Callable[..., None], style: str):
    configure(config_kwargs={"s3": {"addressing_style": style}}, use_listings_cache=True)
    bucket = open_bucket(s3, True)
    if style == "path":
        bucket.replace(KEY, b"bytes")
        assert bucket.read(KEY) == b"bytes"
    filesystem = bucket._fs  # type: ignore[attr-defined]
    filesystem.connect()
    config = filesystem.s3.meta.config
    assert config.s3["addressing_style"] == style
    assert (config.retries["mode"], config.retries["total_max_attempts"]) == ("standard", 4)
    assert filesystem.retries == 2
    # What ticks rely on is not theirs to change: listings are never remembered.
    assert not filesystem.dircache.use_listings_cache
