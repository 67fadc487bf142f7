"""Options of S3 from AWS' variables and files and from fsspec's configuration, by one set of names.

The names are those of Rust's `object_store` (`AWS_ENDPOINT_URL`, `AWS_REGION`, ...), which obstore and Delta Lake both
take. Add an option here once it was tried against a server; an option without such a name is listed in `beyond`, and
s3fs opens the bucket then. Buckets are opened in `bucket`.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from pyro_assets.errors import SettingsError

S3_SCHEMES: Final = ("s3", "s3a")
KEY, SECRET, TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
_ENDPOINT, _REGION, _VIRTUAL = "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST"

# fsspec's options and ours; "a.b" is option b inside of option a.
_SAID: Final = {
    "key": KEY,
    "secret": SECRET,
    "token": TOKEN,
    "anon": "AWS_SKIP_SIGNATURE",
    "endpoint_url": _ENDPOINT,
    "requester_pays": "AWS_REQUEST_PAYER",
    "client_kwargs.endpoint_url": _ENDPOINT,
    "client_kwargs.region_name": _REGION,
    "s3_additional_kwargs.ServerSideEncryption": "AWS_SERVER_SIDE_ENCRYPTION",
    "s3_additional_kwargs.SSEKMSKeyId": "AWS_SSE_KMS_KEY_ID",
    "s3_additional_kwargs.BucketKeyEnabled": "AWS_SSE_BUCKET_KEY_ENABLED",
    "config_kwargs.s3.addressing_style": _VIRTUAL,
}
# They mean nothing to us: listings are never remembered, and objects are read by ranges that we choose.
_IGNORED: Final = frozenset({"use_listings_cache", "default_block_size", "default_cache_type", "default_fill_cache"})
# Variables and words of AWS' files that change requests in a way that only botocore knows.
_BEYOND_VARIABLES: Final = (
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
)
_BEYOND_WORDS: Final = ("endpoint_url", "services", "s3", "use_dualstack_endpoint", "use_fips_endpoint")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_ENDPOINT_FORM: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>\d+))?(?P<path>(/[\w./-]*)?)",
    re.IGNORECASE,
)
# How long credentials that botocore found are used before it is asked again; it renews those that expire by itself.
_CREDENTIALS_LAST: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class S3Options:
    """How a bucket of S3 is reached.

    Attributes:
        values: by name of `object_store`, as text; without credentials where no variable or option holds them.
        beyond: options without such a name; empty where `values` are all.
        credentials: gives them where `values` do not, in the form that obstore asks for; None where they do.
        certificates: file of certificates (PEM) to trust beside the machine's; "" for none.
        attempts: how often a request is tried at most.
    """

    values: dict[str, str] = field(repr=False)
    beyond: tuple[str, ...] = ()
    credentials: Callable[[], dict[str, Any]] | None = field(default=None, compare=False)
    certificates: str = ""
    attempts: int = 4


def s3_options(bucket: str) -> S3Options:
    """Options of a bucket of S3 from this process's environment, AWS' files and fsspec's configuration."""
    return options_of(bucket, os.environ, fsspec_options(), _aws_files(os.environ))


def options_of(bucket: str, environ: Mapping[str, str], said: Mapping[str, Any], files: bool = False) -> S3Options:
    """Options of a bucket.

    Args:
        bucket: its name.
        environ: AWS' variables.
        said: fsspec's options for S3; they go before variables.
        files: whether there are files of AWS' command line, which may hold region and credentials.

    Raises:
        SettingsError: the endpoint is no address.

    >>> options_of("b", {"AWS_ENDPOINT_URL": "http://minio:9000"}, {"key": "k", "secret": "s"}).values["AWS_ALLOW_HTTP"]
    'true'
    >>> options_of("b", {}, {"config_kwargs": {"connect_timeout": 5}, "key": "k", "secret": "s"}).beyond
    ('config_kwargs.connect_timeout', 'a region')
    """
    beyond = [name for name in _BEYOND_VARIABLES if environ.get(name)]
    certificates = environ.get("AWS_CA_BUNDLE", "")
    values = _variables(environ)
    for name, value in _flat(said):
        if name in _SAID:
            values[_SAID[name]] = _text(name, value)
        elif name not in _IGNORED:
            beyond.append(name)
    session = None
    if files or (not (KEY in values and SECRET in values) and values.get("AWS_SKIP_SIGNATURE") != "true"):
        session = _session()
        beyond += [word for word in _BEYOND_WORDS if word in session.get_scoped_config()]
        values.setdefault(_REGION, session.get_config_variable("region") or "")
        certificates = session.get_config_variable("ca_bundle") or certificates
    style = values.pop(_VIRTUAL, "auto")
    endpoint = values.get(_ENDPOINT, "")
    is_virtual = style == "virtual" or (style == "auto" and "." not in bucket)
    if endpoint:
        values[_ENDPOINT], is_virtual = _checked(endpoint, bucket if style == "virtual" else "")
        values["AWS_ALLOW_HTTP"] = str(values[_ENDPOINT].startswith("http://")).lower()
        values[_REGION] = values.get(_REGION) or "us-east-1"
    elif not _NAME.fullmatch(values.get(_REGION, "")) or values[_REGION].startswith(("cn-", "us-iso", "eu-isoe")):
        # s3fs asks AWS where a bucket is, and knows the names of other partitions.
        beyond.append("a region")
    if not _NAME.fullmatch(bucket) or bucket.endswith("--x-s3"):
        beyond.append("access points and directory buckets")
    if is_virtual:
        values[_VIRTUAL] = "true"
    keyless = session is not None and KEY not in values and values.get("AWS_SKIP_SIGNATURE") != "true"
    return S3Options(
        {name: value for name, value in values.items() if value},
        tuple(beyond),
        _Credentials(session) if keyless else None,
        certificates,
        max(int(environ.get("AWS_MAX_ATTEMPTS") or 4), 1),
    )


def fsspec_options() -> dict[str, Any]:
    """Options of S3 from FSSPEC_S3 or a file of fsspec's, for both names of the protocol."""
    folder = Path(os.environ.get("FSSPEC_CONFIG_DIR") or Path.home() / ".config" / "fsspec")
    if (
        "fsspec" not in sys.modules
        and not any(name.startswith("FSSPEC_") for name in os.environ)
        and not folder.is_dir()
    ):
        return {}
    # It takes longer to import than to read a small bucket.
    import fsspec.config

    conf: Mapping[str, Any] = fsspec.config.conf
    return {name: value for scheme in S3_SCHEMES for name, value in conf.get(scheme, {}).items()}


class _Credentials:
    """Credentials that botocore finds: a profile, single sign-on, a role of the pod, the container or the machine."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def __call__(self) -> dict[str, Any]:
        found = self._session.get_credentials()
        if found is None:
            raise PermissionError("no variable, file or role gives credentials")
        now = found.get_frozen_credentials()
        return {
            "access_key_id": now.access_key,
            "secret_access_key": now.secret_key,
            "token": now.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_LAST,
        }


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    values = {
        KEY: environ.get(KEY),
        SECRET: environ.get(SECRET),
        TOKEN: environ.get(TOKEN) or environ.get("AWS_SECURITY_TOKEN"),
        _REGION: environ.get("AWS_DEFAULT_REGION") or environ.get(_REGION),
        _ENDPOINT: environ.get("AWS_ENDPOINT_URL_S3") or environ.get(_ENDPOINT),
    }
    # Secrets that are mounted or pasted end in a line break more often than not.
    return {name: value.strip() for name, value in values.items() if value and value.strip()}


def _checked(endpoint: str, bucket: str) -> tuple[str, bool]:
    """An endpoint whose host begins with the bucket's name, if one is given and the host has a name; whether it does.

    >>> _checked("http://minio:9000", "b"), _checked("http://127.0.0.1:9000", "b")
    (('http://b.minio:9000', True), ('http://127.0.0.1:9000', False))
    """
    told = _ENDPOINT_FORM.fullmatch(endpoint)
    host = told["host"] if told else ""
    is_number = host.startswith("[") or host.rsplit(".", 1)[-1].isdigit()
    if told is None or int(told["port"] or 0) >= 1 << 16 or (is_number and not _is_ip(host.strip("[]"))):
        raise SettingsError(
            f"the endpoint of S3 is {endpoint!r}, which is no address; write for example http://minio:9000 "
            "(AWS_ENDPOINT_URL)"
        )
    begin = f"{bucket}." if bucket and not is_number else ""
    port = f":{told['port']}" if told["port"] else ""
    return f"{told['scheme'].lower()}://{begin}{host}{port}{told['path'].rstrip('/')}", bool(begin)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _flat(said: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in said.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        elif value is not None:
            yield f"{above}{name}", value


def _text(name: str, value: Any) -> str:
    """A value as text; a payer is a word, and numbers of JSON are no booleans."""
    if name == "requester_pays":
        return "requester" if value else ""
    return str(bool(value)).lower() if name in ("anon", "s3_additional_kwargs.BucketKeyEnabled") else str(value)


def _aws_files(environ: Mapping[str, str]) -> bool:
    names = (("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials"))
    home = Path.home() / ".aws"
    return any(Path(environ.get(variable) or home / name).is_file() for variable, name in names)


def _session() -> Any:
    # A tenth of a second that is spent only where variables do not say it all.
    import botocore.session

    return botocore.session.Session()
