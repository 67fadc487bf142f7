"""Opens buckets by URL: the only file that imports fsspec (and through it s3fs).

Add a scheme here when a store needs a class of its own; reading, listing and writing are in `local`, `remote`, `s3`.
"""

import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, overload
from urllib.parse import unquote, urlsplit

from pyro_assets.errors import SettingsError
from pyro_assets.storage.interface import Bucket, Folder, ObjectInfo, ReadOnlyBucket
from pyro_assets.storage.local import LocalBucket, LocalReadOnlyBucket
from pyro_assets.storage.remote import RemoteBucket, RemoteReadOnlyBucket
from pyro_assets.storage.s3 import S3Bucket, S3ReadOnlyBucket

__all__ = ["Bucket", "Folder", "ObjectInfo", "ReadOnlyBucket", "open_bucket", "place_of"]

_LOCAL_SCHEMES: Final = ("file", "local")
_S3_SCHEMES: Final = ("s3", "s3a")
# s3fs tries five times what botocore has tried five times, half a minute for one listing that is throttled; ticks and
# jobs come again anyway, and say meanwhile what is wrong.
_S3_TRIES: Final = 2
_S3_OPTIONS: Final = {"config_kwargs": {"retries": {"mode": "standard", "max_attempts": 3}}}


@overload
def open_bucket(url: str, writable: Literal[False] = False) -> ReadOnlyBucket: ...
@overload
def open_bucket(url: str, writable: Literal[True]) -> Bucket: ...
def open_bucket(url: str, writable: bool = False) -> ReadOnlyBucket:
    """Opens a bucket; nothing is read or made yet.

    Args:
        url: a folder, `file:///folder`, `s3://bucket/prefix` (endpoint, region and credentials from the usual AWS
            variables) or another fsspec URL whose package is installed.
        writable: False gives an object without any method that writes.

    Raises:
        SettingsError: the URL's scheme is unknown, its package is not installed, or it names no bucket.
    """
    scheme, place = _split(url)
    if scheme in _LOCAL_SCHEMES:
        return LocalBucket(place) if writable else LocalReadOnlyBucket(place)
    # Imported here because a second of process start is part of the lag where buckets are folders.
    import fsspec

    if not place:
        raise SettingsError(f"{url!r} names no bucket; write for example s3://bucket/prefix")
    is_s3 = scheme in _S3_SCHEMES
    options = _merged(_S3_OPTIONS, _configured(fsspec.config.conf)) if is_s3 else {}
    try:
        filesystem = fsspec.filesystem(scheme, **(options | {"use_listings_cache": False}))
    except (ValueError, ImportError) as error:
        raise SettingsError(f"buckets of {url!r} cannot be opened: {error}") from error
    if is_s3:
        filesystem.retries = _S3_TRIES
        return S3Bucket(url, filesystem, place) if writable else S3ReadOnlyBucket(url, filesystem, place)
    return RemoteBucket(url, filesystem, place) if writable else RemoteReadOnlyBucket(url, filesystem, place)


def _configured(conf: Mapping[str, Any]) -> dict[str, Any]:
    """What a person says of S3 by FSSPEC_S3 or a file of fsspec's; it knows both names of the protocol."""
    return {name: value for scheme in _S3_SCHEMES for name, value in conf.get(scheme, {}).items()}


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Options of both, theirs where both say something: fsspec takes the whole of ours instead.

    >>> _merged({"config_kwargs": {"a": {"b": 1, "c": 2}}}, {"config_kwargs": {"a": {"c": 3}}, "d": 4})
    {'config_kwargs': {'a': {'b': 1, 'c': 3}}, 'd': 4}
    """
    merged = {**ours, **theirs}
    for name in ours.keys() & theirs.keys():
        if isinstance(ours[name], Mapping) and isinstance(theirs[name], Mapping):
            merged[name] = _merged(ours[name], theirs[name])
    return merged


def place_of(url: str) -> str:
    """The place a URL means, the same for every way to write it; ends with "/".

    >>> place_of("s3://bucket/a/../b/") == place_of("s3://bucket/b")
    True
    """
    scheme, place = _split(url)
    if scheme in _LOCAL_SCHEMES:
        return f"file:{Path(place).resolve()}/"
    return f"{'s3' if scheme in _S3_SCHEMES else scheme}:{place}/"


def _split(url: str) -> tuple[str, str]:
    """Scheme and path of a URL, "file" for what has no scheme."""
    if "://" not in url:
        if not url:
            raise SettingsError("a bucket's URL is empty; name a folder or for example s3://bucket/prefix")
        return "file", url
    parts = urlsplit(url)
    if parts.scheme in _LOCAL_SCHEMES:
        return "file", unquote(parts.netloc + parts.path)
    return parts.scheme, posixpath.normpath(f"/{parts.netloc}{parts.path}").strip("/")
