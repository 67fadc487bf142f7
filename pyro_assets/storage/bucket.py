"""Opens buckets by URL: S3 by obstore, or by s3fs with options that obstore lacks; other stores by fsspec.

Add a scheme here when a store needs a class of its own; reading, listing and writing are in `local`, `s3`,
`filesystems`.
"""

import posixpath
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, overload
from urllib.parse import unquote, urlsplit

from pyro_assets.errors import SettingsError
from pyro_assets.storage.filesystems import FileSystemBucket, FileSystemReadOnlyBucket, S3fsBucket, S3fsReadOnlyBucket
from pyro_assets.storage.interface import Bucket, Folder, ObjectInfo, ReadOnlyBucket
from pyro_assets.storage.local import LocalBucket, LocalReadOnlyBucket
from pyro_assets.storage.s3 import S3Bucket, S3ReadOnlyBucket
from pyro_assets.storage.s3_options import S3_SCHEMES, S3Options, fsspec_options, s3_options

__all__ = ["Bucket", "Folder", "ObjectInfo", "ReadOnlyBucket", "open_bucket", "place_of"]

_LOCAL_SCHEMES: Final = ("file", "local")
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
    if not place:
        raise SettingsError(f"{url!r} names no bucket; write for example s3://bucket/prefix")
    if scheme in S3_SCHEMES:
        options = s3_options(place.partition("/")[0])
        if not options.beyond:
            return _open_s3(url, place, options, writable)
    return _open_file_system(url, scheme, place, writable)


def _open_s3(url: str, place: str, options: S3Options, writable: bool) -> ReadOnlyBucket:
    plain = partial(_open_file_system, url, "s3", place, False)
    return S3Bucket(url, place, options, plain) if writable else S3ReadOnlyBucket(url, place, options, plain)


def _open_file_system(url: str, scheme: str, place: str, writable: bool) -> ReadOnlyBucket:
    # Imported here because half a second of process start is part of the lag where buckets are folders or S3's.
    import fsspec

    is_s3 = scheme in S3_SCHEMES
    options = _merged(_S3_OPTIONS, fsspec_options()) if is_s3 else {}
    try:
        filesystem = fsspec.filesystem(scheme, **(options | {"use_listings_cache": False}))
    except (ValueError, ImportError) as error:
        raise SettingsError(f"buckets of {url!r} cannot be opened: {error}") from error
    if is_s3:
        filesystem.retries = _S3_TRIES
        return S3fsBucket(url, filesystem, place) if writable else S3fsReadOnlyBucket(url, filesystem, place)
    return FileSystemBucket(url, filesystem, place) if writable else FileSystemReadOnlyBucket(url, filesystem, place)


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
    return f"{'s3' if scheme in S3_SCHEMES else scheme}:{place}/"


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
