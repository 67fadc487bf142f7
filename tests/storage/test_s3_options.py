"""What a person says of S3 by AWS' variables and by fsspec's configuration, tried on servers with both clients."""

import json
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
import s3fs
from deltalake import DeltaTable

from pyro_assets.errors import AccessRefused, SettingsError, StorageUnavailable
from pyro_assets.storage.bucket import open_bucket
from pyro_assets.storage.filesystems import S3fsBucket
from pyro_assets.storage.s3 import S3Bucket
from pyro_assets.storage.s3_options import options_of
from tests.support.faulty_proxy import faulty_proxy
from tests.support.s3_server import s3, s3_endpoint
from tests.support.scripted_server import Reply, own_certificate, scripted_server

__all__ = ["s3", "s3_endpoint"]

KEY = "segments/4/anonymous/01M891VPM4XX31MPMZXPGM0RM0/block.bin"
KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
#: What obstore lacks, and no request shows.
ONLY_S3FS = {"config_kwargs": {"user_agent_extra": "tests"}}
EMPTY = b"<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"


@pytest.fixture(params=["obstore", "s3fs"])
def configure(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the variable FSSPEC_S3, which fsspec reads when it is imported; with one more option S3 is s3fs's."""

    def set_options(**options: object) -> None:
        conf: dict[str, object] = {}
        if request.param == "s3fs":
            options = options | {"config_kwargs": options.get("config_kwargs", {}) | ONLY_S3FS["config_kwargs"]}
        fsspec.config.set_conf_env(conf, {"FSSPEC_S3": json.dumps(options)})
        monkeypatch.setitem(fsspec.config.conf, "s3", conf["s3"])
        s3fs.S3FileSystem.clear_instance_cache()
        bucket = open_bucket("s3://bucket", True)
        assert isinstance(bucket, S3fsBucket if request.param == "s3fs" else S3Bucket)

    return set_options


@pytest.mark.service
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


@pytest.mark.service
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


@pytest.mark.service
def test_a_table_of_delta_lake_is_written_as_our_own_objects_are(
    s3: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
):
    import boto3

    monkeypatch.delenv("AWS_ENDPOINT_URL")
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-of-ours"}
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": s3_endpoint, "s3_additional_kwargs": encryption})
    place = open_bucket(s3, True).delta_place("series_table")
    DeltaTable.create(place.url, pa.schema([("a", pa.int64())]), storage_options=dict(place.options))
    with faulty_proxy(s3_endpoint) as proxy:
        monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": proxy.url, "requester_pays": True})
        place = open_bucket(s3).delta_place("series_table")
        assert DeltaTable(place.url, storage_options=dict(place.options)).version() == 0
    assert proxy.requests
    assert {headers.get("x-amz-request-payer") for headers in proxy.headers} == {"requester"}
    name, _, prefix = s3.removeprefix("s3://").partition("/")
    client = boto3.client("s3", endpoint_url=s3_endpoint)
    found = client.head_object(Bucket=name, Key=f"{prefix}/series_table/_delta_log/{0:020d}.json")
    assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", "key-of-ours")
    client.close()


def test_what_delta_lake_has_no_name_for_makes_no_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name, value in (KEYS | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    assert open_bucket("s3://bucket/some").delta_place("t").why_not == ""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(own_certificate(tmp_path)))
    assert "AWS_CA_BUNDLE" in open_bucket("s3://bucket/some").delta_place("t").why_not
    monkeypatch.setitem(fsspec.config.conf, "s3", {"s3_additional_kwargs": {"StorageClass": "GLACIER"}})
    assert "StorageClass" in open_bucket("s3://bucket/some").delta_place("t").why_not


@pytest.mark.service
@pytest.mark.parametrize(
    "said", [{"config_kwargs": {"s3": {"addressing_style": "path"}}}, {"key": "id", "secret": "x"}]
)
def test_the_bucket_stands_in_the_path_for_servers_of_their_own(s3: str, configure: Callable[..., None], said: dict):
    configure(**said, use_listings_cache=True)
    bucket = open_bucket(s3, True)
    bucket.replace(KEY, b"bytes")
    assert bucket.read(KEY) == b"bytes"
    # What ticks rely on is not theirs to change: listings are never remembered.
    assert [item.key for item in bucket.list_after("segments/")] == [KEY]
    bucket.remove([KEY])
    assert bucket.list_after("segments/") == []


def test_the_bucket_stands_in_the_host_where_that_is_asked_for(
    configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    for name, value in (KEYS | {"AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:1")
    configure(config_kwargs={"s3": {"addressing_style": "virtual"}})
    with pytest.raises(StorageUnavailable, match=r"http://bucket\.localhost:1/"):
        open_bucket("s3://bucket").list_after("segments/")


def test_our_patience_stays_beside_options_of_s3fs(monkeypatch: pytest.MonkeyPatch):
    for name, value in (KEYS | {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"connect_timeout": 7}, "use_listings_cache": True})
    s3fs.S3FileSystem.clear_instance_cache()
    filesystem = open_bucket("s3://bucket")._fs  # type: ignore[attr-defined]
    filesystem.connect()
    config = filesystem.s3.meta.config
    assert config.connect_timeout == 7
    assert (config.retries["mode"], config.retries["total_max_attempts"]) == ("standard", 4)
    assert filesystem.retries == 2
    assert not filesystem.dircache.use_listings_cache


def test_variables_and_options_meet_under_one_set_of_names():
    endpoint = {"AWS_ENDPOINT_URL": "http://minio:9000"}
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
    own = {"AWS_ENDPOINT_URL": "http://minio:9000", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
    assert options_of("b", KEYS | endpoint, {}).values == keys | own
    # Options go before variables, and the service's own variable before the general one.
    assert options_of("b", KEYS | endpoint, {"key": "other"}).values == keys | own | {"AWS_ACCESS_KEY_ID": "other"}
    both = KEYS | endpoint | {"AWS_ENDPOINT_URL_S3": "https://s3:1", "AWS_DEFAULT_REGION": "r", "AWS_REGION": "no"}
    assert options_of("b", both, {}).values == keys | {
        "AWS_ENDPOINT_URL": "https://s3:1",
        "AWS_ALLOW_HTTP": "false",
        "AWS_REGION": "r",
    }
    virtual = {"config_kwargs": {"s3": {"addressing_style": "virtual"}}, "token": "t", "requester_pays": False}
    assert options_of("b", KEYS | endpoint, virtual).values == keys | own | {
        "AWS_ENDPOINT_URL": "http://b.minio:9000",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_SESSION_TOKEN": "t",
    }
    at_home = options_of("b", KEYS | {"AWS_REGION": "eu-west-1"}, {})
    assert at_home.values == keys | {"AWS_REGION": "eu-west-1", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true"}
    assert (at_home.beyond, at_home.attempts) == ((), 4)
    assert "AWS_VIRTUAL_HOSTED_STYLE_REQUEST" not in options_of("a.b", KEYS | {"AWS_REGION": "r"}, {}).values
    open_to_all = options_of("b", endpoint | {"AWS_MAX_ATTEMPTS": "1"}, {"anon": True})
    assert open_to_all.values == own | {"AWS_SKIP_SIGNATURE": "true"}
    assert (open_to_all.credentials, open_to_all.attempts) == (None, 1)
    assert "secret" not in repr(at_home)


@pytest.mark.parametrize(
    ("bucket", "environ", "said", "beyond"),
    [
        ("b", {"AWS_USE_FIPS_ENDPOINT": "true"}, {}, "AWS_USE_FIPS_ENDPOINT"),
        ("b", {}, {"s3_additional_kwargs": {"StorageClass": "GLACIER"}}, "s3_additional_kwargs.StorageClass"),
        ("b", {"AWS_REGION": ""}, {}, "a region"),
        ("b", {"AWS_REGION": "cn-north-1"}, {}, "a region"),
        ("arn:aws:s3:eu-west-1:1:accesspoint", {}, {}, "access points and directory buckets"),
    ],
)
def test_what_obstore_lacks_is_named(bucket: str, environ: dict[str, str], said: dict, beyond: str):
    assert options_of(bucket, KEYS | {"AWS_REGION": "eu-west-1"} | environ, said).beyond == (beyond,)


@pytest.mark.parametrize(
    "endpoint", ["minio:9000", "http://", "http://a b:9000", "http://b.300.1.1.1", "http://h:99999", "http://h:x"]
)
def test_an_endpoint_that_is_no_address_is_refused(endpoint: str):
    with pytest.raises(SettingsError, match=r"which is no address; write for example http://minio:9000"):
        options_of("b", KEYS, {"endpoint_url": endpoint})


def test_line_breaks_after_secrets_are_none_of_theirs():
    pasted = {name: f"{value}\n" for name, value in (KEYS | {"AWS_REGION": "eu-west-1"}).items()}
    assert options_of("b", pasted, {}) == options_of("b", KEYS | {"AWS_REGION": "eu-west-1"}, {})


def test_credentials_and_region_of_aws_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in (*KEYS, "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "config").write_text("[default]\nregion = eu-north-1\n[profile far]\nendpoint_url = http://far:9000\n")
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = file-id\naws_secret_access_key = file-key\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    found = options_of("b", {}, {}, files=True)
    assert found.values == {"AWS_REGION": "eu-north-1", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true"}
    assert found.beyond == ()
    assert found.credentials is not None
    assert found.credentials()["access_key_id"] == "file-id"
    reply = Reply(200, EMPTY, {"Content-Type": "application/xml"})
    with scripted_server(default=reply) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        bucket = open_bucket("s3://bucket", True)
        assert isinstance(bucket, S3Bucket)
        assert bucket.list_after("segments/") == []
        assert "Credential=file-id/" in server.requests[0].headers["authorization"]
        assert bucket.delta_place("t").options["AWS_ACCESS_KEY_ID"] == "file-id"
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with pytest.raises(AccessRefused, match="no variable, file or role gives credentials"):
            open_bucket("s3://bucket").list_after("segments/")
    monkeypatch.setenv("AWS_PROFILE", "far")
    assert options_of("b", {}, {}, files=True).beyond == ("endpoint_url", "a region")


def test_certificates_of_an_authority_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in (KEYS | {"AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"}).items():
        monkeypatch.setenv(name, value)
    certificate = own_certificate(tmp_path)
    reply = Reply(200, EMPTY, {"Content-Type": "application/xml"})
    with scripted_server(default=reply, certificate=certificate) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
        with pytest.raises(StorageUnavailable, match=r"\(UnknownIssuer\)"):
            open_bucket("s3://bucket").list_after("segments/")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        assert open_bucket("s3://bucket").list_after("segments/") == []
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
        with pytest.raises(SettingsError, match=r"AWS_CA_BUNDLE are not read: .*none\.pem: No such file"):
            open_bucket("s3://bucket")
