"""What every bucket promises, over all kinds of buckets; and what only folders or only S3 must show."""

import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from pyro_assets.errors import (
    AccessRefused,
    ObjectChanged,
    ObjectConflict,
    ObjectMissing,
    SettingsError,
    StorageError,
    StorageUnavailable,
)
from pyro_assets.storage.bucket import Bucket, ObjectInfo, ReadOnlyBucket, open_bucket, place_of
from pyro_assets.storage.filesystems import FileSystemReadOnlyBucket, S3fsReadOnlyBucket
from pyro_assets.storage.interface import ByteRange
from pyro_assets.storage.local import LocalBucket
from pyro_assets.storage.s3 import S3Bucket
from tests.support import fakes
from tests.support.s3_server import s3, s3_client, s3_endpoint, use_s3fs

__all__ = ["s3", "s3_client", "s3_endpoint"]

Opener = Callable[[bool], Any]


@pytest.fixture(
    params=["memory", "local", "fsspec", *(pytest.param(name, marks=pytest.mark.service) for name in ("s3", "s3fs"))]
)
def opener(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """Opens the same empty bucket, writable or not."""
    if request.param == "memory":
        bucket = fakes.MemoryBucket()
        return lambda writable: bucket
    urls = {"local": str(tmp_path / "bucket"), "fsspec": f"memory://{uuid.uuid4().hex}"}
    if request.param == "s3fs":
        use_s3fs(monkeypatch)
    url = urls.get(request.param) or request.getfixturevalue("s3")
    return lambda writable: open_bucket(url, writable)


@pytest.fixture
def bucket(opener: Opener) -> Bucket:
    made = opener(True)
    assert isinstance(made, Bucket)
    return made


def test_reads_what_was_created(bucket: Bucket, opener: Opener) -> None:
    assert bucket.create("a/b.bin", b"0123456789")
    source = opener(False)
    assert source.read("a/b.bin") == source.get("a/b.bin", 10) == b"0123456789"
    assert source.size("a/b.bin") == 10
    assert source.get_range("a/b.bin", 2, 3) == b"234"
    assert source.get_range("a/b.bin", 4, 0) == b""


def test_reads_an_empty_object(bucket: Bucket) -> None:
    bucket.create("a/empty", b"")
    assert bucket.read("a/empty") == bucket.get("a/empty", 0) == b""
    assert bucket.size("a/empty") == 0
    with pytest.raises(ObjectChanged):
        bucket.get("a/empty", 3)


@pytest.mark.parametrize("listed", [0, 9, 11])
def test_an_object_of_another_size_than_listed_has_changed(bucket: Bucket, listed: int) -> None:
    bucket.create("a/b.bin", b"0123456789")
    with pytest.raises(ObjectChanged, match=r"a/b\.bin"):
        bucket.get("a/b.bin", listed)


def test_a_range_past_the_end_has_changed(bucket: Bucket) -> None:
    bucket.create("a/b.bin", b"0123456789")
    for start, length in ((8, 3), (10, 1), (50, 1)):
        with pytest.raises(ObjectChanged):
            bucket.get_range("a/b.bin", start, length)


def test_a_missing_object_is_named(bucket: Bucket) -> None:
    bucket.create("a/b/c.bin", b"x")
    for read in (
        lambda key: bucket.read(key),
        lambda key: bucket.get(key, 4),
        lambda key: bucket.get(key, 0),
        lambda key: bucket.get_range(key, 0, 1),
        lambda key: bucket.size(key),
    ):
        for key in ("a/gone.bin", "a/b"):
            with pytest.raises(ObjectMissing, match=key):
                read(key)


def test_many_objects_fail_one_by_one(bucket: Bucket) -> None:
    bucket.create("a/1", b"one")
    bucket.create("a/2", b"two")
    bucket.create("a/0", b"")
    found = bucket.get_many(
        [ObjectInfo("a/2", 3), ObjectInfo("a/x", 3), ObjectInfo("a/1", 9), ObjectInfo("a/0", 0), ObjectInfo("a/1", 3)]
    )
    assert [item if isinstance(item, bytes) else type(item) for item in found] == [
        b"two",
        ObjectMissing,
        ObjectChanged,
        b"",
        b"one",
    ]
    assert bucket.get_many([]) == []


def test_many_ranges_fail_one_by_one(bucket: Bucket) -> None:
    bucket.create("a/1", b"0123456789")
    bucket.create("a/2", b"two")
    found = bucket.get_ranges(
        [
            ByteRange("a/1", 2, 3),
            ByteRange("a/x", 0, 3),
            ByteRange("a/1", 8, 3),
            ByteRange("a/2", 0, 0),
            ByteRange("a/2", 0, 3),
            ByteRange("a/1", 2, 3),
        ]
    )
    assert [item if isinstance(item, bytes) else type(item) for item in found] == [
        b"234",
        ObjectMissing,
        ObjectChanged,
        b"",
        b"two",
        b"234",
    ]
    assert bucket.get_ranges([]) == []


def test_creates_once(bucket: Bucket) -> None:
    assert bucket.create("a/b", b"first")
    assert not bucket.create("a/b", b"first")
    with pytest.raises(ObjectConflict, match="a/b"):
        bucket.create("a/b", b"other")
    assert bucket.read("a/b") == b"first"
    bucket.replace("a/b", b"other")
    assert bucket.read("a/b") == b"other"
    bucket.replace("a/new", b"n")
    assert bucket.read("a/new") == b"n"


def test_lists_in_the_order_of_keys(bucket: Bucket) -> None:
    # "-" sorts before "/" and "0" after it: folders must sort as the keys below them do.
    keys = ["a/b/2", "a/b-1", "a/b/1", "a/b0", "a/c/x/y", "a/c/x!", "b/1", "a/ü", "a/Z"]
    for key in keys:
        bucket.create(key, key.encode())
    below = sorted((key for key in keys if key.startswith("a/")), key=str.encode)
    assert [item.key for item in bucket.list_after("a/")] == below
    assert {item.key: item.size_bytes for item in bucket.list_after("")} == {key: len(key.encode()) for key in keys}
    for start, key in enumerate(below):
        assert [item.key for item in bucket.list_after("a/", key)] == below[start + 1 :]
    assert [item.key for item in bucket.list_after("a/", "a/b")] == below[below.index("a/b-1") :]
    assert [item.key for item in bucket.list_after("a/", "a/b/", 2)] == ["a/b/1", "a/b/2"]
    assert [item.key for item in bucket.list_after("a/b/", "a/")] == ["a/b/1", "a/b/2"]
    assert bucket.list_after("a/", "b") == []
    assert bucket.list_after("nothing/") == []


def test_lists_a_folder_of_more_names_than_are_kept_at_a_time(tmp_path: Path) -> None:
    names = [f"{number:04d}{end}" for number in range(1_200) for end in ("-x", "")]
    for name in names:
        folder = tmp_path / "a" / name
        folder.mkdir(parents=True)
        # "-" sorts before "/"; an empty folder has no object, and must not look like the end.
        if not name.startswith("05"):
            (folder / "o").write_bytes(b"1")
    bucket = open_bucket(str(tmp_path))
    expected = sorted(f"a/{name}/o" for name in names if not name.startswith("05"))
    assert [item.key for item in bucket.list_after("a/", "", 5_000)] == expected
    paged: list[str] = []
    while page := bucket.list_after("a/", paged[-1] if paged else "", 700):
        paged += [item.key for item in page]
        assert len(page) == 700 or len(paged) == len(expected)
    assert paged == expected
    assert sorted(bucket.list_folder("a/").folders) == sorted(names)


def test_lists_a_folder(bucket: Bucket) -> None:
    for key in ("s/1/x", "s/10/y", "s/2/z", "s/note", "t/3/x"):
        bucket.create(key, b"12")
    folder = bucket.list_folder("s/")
    assert folder.folders == ("1", "10", "2")
    assert folder.objects == (ObjectInfo("s/note", 2),)
    assert bucket.list_folder("").folders == ("s", "t")
    assert bucket.list_folder("none/") == fakes.Folder((), ())


def test_the_source_cannot_be_written_by_construction(opener: Opener, tmp_path: Path) -> None:
    source = opener(False)
    if isinstance(source, fakes.MemoryBucket):
        pytest.skip("the fake is both")
    assert not isinstance(source, Bucket)
    words = ("create", "replace", "put", "write", "delete", "remove", "rm", "move", "copy")
    assert not [name for name in dir(source) if not name.startswith("__") and any(word in name for word in words)]
    assert isinstance(source, ReadOnlyBucket)


def test_removes_what_is_named_and_nothing_else(bucket: Bucket) -> None:
    for key in ("a/b/c", "a/b/d", "a/e", "f"):
        bucket.create(key, b"x")
    bucket.remove(["a/b/c", "a/b/none", "none/x", "f"])
    bucket.remove([])
    assert [item.key for item in bucket.list_after("")] == ["a/b/d", "a/e"]
    bucket.remove(["a/b/d"])
    assert bucket.list_folder("a/").folders == ()
    with pytest.raises(ObjectMissing):
        bucket.read("a/b/c")
    assert bucket.create("a/b/c", b"new")
    assert bucket.read("a/b/c") == b"new"


def test_local_removes_empty_folders_but_never_the_bucket(tmp_path: Path) -> None:
    bucket = LocalBucket(tmp_path / "bucket")
    bucket.create("a/b/c", b"x")
    bucket.remove(["a/b/c", "a/b/c/d"])
    assert [path.name for path in (tmp_path / "bucket").iterdir()] == [".tmp"]


def test_local_names_what_crashed_writers_left(tmp_path: Path) -> None:
    bucket = LocalBucket(tmp_path)
    assert bucket.unfinished(2**60) == []
    bucket.create("a/b", b"x")
    (tmp_path / ".tmp" / "half").write_bytes(b"123")
    os.utime(tmp_path / ".tmp" / "half", (1000, 1000))
    assert bucket.unfinished(1_000_000) == []
    assert bucket.unfinished(1_000_001) == [ObjectInfo(".tmp/half", 3)]
    bucket.remove([".tmp/half"])
    assert bucket.unfinished(2**60) == []


@pytest.mark.service
def test_s3_lists_and_removes_thousands(s3: str) -> None:
    bucket = open_bucket(s3, True)
    assert isinstance(bucket, S3Bucket)
    keys = [f"p/{number:04}" for number in range(1_020)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: bucket.replace(key, b"x"), keys))
    bucket.create("p/sub/x", b"")
    assert [item.key for item in bucket.list_after("p/", limit=5000)] == [*keys, "p/sub/x"]
    assert [item.key for item in bucket.list_after("p/", "p/0010", limit=1_005)] == keys[11:1_016]
    folder = bucket.list_folder("p/")
    assert (len(folder.objects), folder.folders) == (1_020, ("sub",))
    bucket.remove([*keys[1:], "p/sub/x"])
    assert [item.key for item in bucket.list_after("p/")] == keys[:1]


@pytest.mark.service
def test_s3_lists_keys_that_are_no_paths(s3: str) -> None:
    import boto3

    bucket = open_bucket(s3, True)
    name, _, prefix = s3.removeprefix("s3://").partition("/")
    client = boto3.client("s3")
    for key in ("a/", "a/b", "a//c"):
        client.put_object(Bucket=name, Key=f"{prefix}/{key}", Body=b"1")
    client.close()
    assert [item.key for item in bucket.list_after("a/")][-2:] == ["a//c", "a/b"]
    assert [item.key for item in bucket.list_after("a/", "a/9")] == ["a/b"]
    assert ObjectInfo("a/b", 1) in bucket.list_folder("a/").objects
    assert bucket.list_folder("").folders == ("a",)


@pytest.mark.service
def test_s3fs_removes_thousands(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3fs(monkeypatch)
    bucket = open_bucket(s3, True)
    monkeypatch.setattr(S3fsReadOnlyBucket, "page_keys", 10)
    keys = [f"p/{number:02}" for number in range(25)]
    for key in keys:
        bucket.create(key, b"x")
    bucket.remove(keys[1:])
    assert [item.key for item in bucket.list_after("p/")] == keys[:1]


def test_a_store_that_is_only_listed_as_a_whole_says_when_that_is_too_much() -> None:
    url = f"memory://{uuid.uuid4().hex}"
    writer = open_bucket(url, writable=True)
    for number in range(4):
        writer.create(f"segments/4/{number}", b"1")

    class Small(FileSystemReadOnlyBucket):
        most_keys = 3

    fsspec_bucket = open_bucket(url)
    assert isinstance(fsspec_bucket, FileSystemReadOnlyBucket)
    small = Small(url, fsspec_bucket._fs, fsspec_bucket._place)
    with pytest.raises(StorageUnavailable, match=r"4 objects below segments/4/; .* more than 3: use its S3 interface"):
        small.list_after("segments/4/", "", 2)
    assert len(fsspec_bucket.list_after("segments/4/", "", 2)) == 2


@pytest.mark.service
def test_s3fs_lists_by_pages(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3fs(monkeypatch)
    monkeypatch.setattr(S3fsReadOnlyBucket, "page_keys", 10)
    bucket = open_bucket(s3, True)
    keys = [f"p/{number:02}" for number in range(35)] + [f"p/{number:02}/x" for number in range(35, 52)]
    for key in keys:
        bucket.create(key, b"")
    assert [item.key for item in bucket.list_after("p/", limit=5000)] == keys
    assert [item.key for item in bucket.list_after("p/", "p/10", limit=21)] == keys[11:32]
    folder = bucket.list_folder("p/")
    assert (len(folder.objects), len(folder.folders)) == (35, 17)


@pytest.mark.service
@pytest.mark.usefixtures("s3_client")
def test_s3_bucket_that_does_not_exist_is_no_lost_object(s3: str) -> None:
    bucket = open_bucket("s3://there-is-no-such-bucket", True)
    for use in (
        lambda: bucket.list_after("a/"),
        lambda: bucket.list_folder(""),
        lambda: bucket.read("a/b"),
        lambda: bucket.get("a/b", 3),
        lambda: bucket.create("a/b", b"x"),
    ):
        with pytest.raises(StorageUnavailable, match="there-is-no-such-bucket"):
            use()


@pytest.mark.service
@pytest.mark.usefixtures("s3_client")
def test_s3_race_of_two_creators(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = open_bucket(s3, True)
    bucket.create("a", b"first")
    # As if the other writer came between looking and writing.
    monkeypatch.setattr(bucket, "_exists", lambda key: False)
    assert not bucket.create("a", b"first")
    with pytest.raises(ObjectConflict):
        bucket.create("a", b"second")
    assert bucket.read("a") == b"first"


@pytest.mark.usefixtures("s3_client")
def test_an_endpoint_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    with pytest.raises(StorageUnavailable):
        open_bucket("s3://bucket").list_folder("")


def test_local_creates_appear_whole(tmp_path: Path) -> None:
    bucket = LocalBucket(tmp_path / "bucket")
    bucket.create("a/b", b"x" * 1000)
    assert [path.name for path in (tmp_path / "bucket" / ".tmp").iterdir()] == []
    assert bucket.list_folder("").folders == ("a",)
    assert [item.key for item in bucket.list_after("")] == ["a/b"]


def test_local_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = LocalBucket(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageUnavailable, match="No space left"):
        bucket.create("a/b", b"x")
    with pytest.raises(StorageUnavailable, match="No space left"):
        bucket.replace("a/b", b"x")
    monkeypatch.undo()
    assert bucket.list_after("") == []
    assert list((tmp_path / ".tmp").iterdir()) == []
    assert bucket.create("a/b", b"x")


def test_local_bucket_that_is_not_mounted_has_lost_nothing(tmp_path: Path) -> None:
    source = open_bucket(str(tmp_path / "mount"))
    with pytest.raises(StorageUnavailable, match="mount"):
        source.get("segments/1/anonymous/x/block.bin", 3)
    (tmp_path / "mount" / "segments").mkdir(parents=True)
    with pytest.raises(ObjectMissing):
        source.get("segments/1/anonymous/x/block.bin", 3)


@pytest.mark.parametrize("key", ["", "/etc/passwd", "a/../../b", "a//b", "./a", "a/\0"])
def test_local_keys_cannot_leave_the_folder(tmp_path: Path, key: str) -> None:
    bucket = LocalBucket(tmp_path)
    with pytest.raises(StorageError):
        bucket.read(key)
    with pytest.raises(StorageError):
        bucket.create(key, b"x")


def test_local_loops_of_links_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a" / "x").write_bytes(b"1")
    assert LocalBucket(tmp_path).list_after("a/")[-1] == ObjectInfo("a/x", 1)


@pytest.fixture
def common() -> Iterator[Path]:
    """A folder that other users reach, unlike `tmp_path`: the folders in it say what they may not do."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def without_permission(folder: Path, mode: int) -> Iterator[None]:
    """A folder of this mode, seen by a user whom it binds."""
    before, user = folder.stat().st_mode, os.geteuid()
    folder.chmod(mode)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(before)


@pytest.mark.parametrize("mode", [0o000, 0o444], ids=["names", "sizes"])
def test_local_folder_without_permission_is_unavailable(common: Path, mode: int) -> None:
    bucket = LocalBucket(common)
    bucket.create("a/x", b"1")
    with without_permission(common / "a", mode), pytest.raises(AccessRefused, match="permission"):
        bucket.list_after("a/")


def test_local_removal_without_permission_is_refused(common: Path) -> None:
    bucket = LocalBucket(common)
    bucket.create("a/x", b"1")
    with without_permission(common / "a", 0o555), pytest.raises(AccessRefused, match="was not removed"):
        bucket.remove(["a/x"])
    assert bucket.read("a/x") == b"1"
    with pytest.raises(StorageUnavailable, match="was not removed") as raised:
        bucket.remove(["a"])
    assert not isinstance(raised.value, AccessRefused)


def test_local_leftovers_that_cannot_be_read_are_unavailable(common: Path) -> None:
    bucket = LocalBucket(common)
    bucket.create("a/x", b"1")
    (common / ".tmp" / "half").write_bytes(b"123")
    for mode in (0o000, 0o444):
        with without_permission(common / ".tmp", mode), pytest.raises(AccessRefused, match="was not read"):
            bucket.unfinished(2**60)
    (common / "file").write_bytes(b"")
    (common / "other").mkdir()
    (common / "other" / ".tmp").symlink_to(common / "file")
    with pytest.raises(StorageUnavailable, match="was not read"):
        LocalBucket(common / "other").unfinished(2**60)


@pytest.mark.parametrize("url", ["", "s3://", "nosuchscheme://x/y"])
def test_urls_that_name_no_bucket_are_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        open_bucket(url)


def test_places_are_compared_whatever_way_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert place_of("real") == place_of(f"file://{tmp_path}/real/") == place_of("./link")
    assert place_of("s3://b/x/") == place_of("s3a://b//x")
    assert place_of("s3://b/x") != place_of("s3://b/xy")
