"""Uploads of some pods -> one segment object and what the manifest says of it.

The default path is an agent's: counts -> pprof bytes -> parsed -> rows -> written. Which pods upload when is decided
here; when segments are made, and where they go, in `generate.py`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from pyro_assets.block.writer import BlockIdentity, write_segment
from pyro_assets.generator.counts import KINDS, PROFILE_SECONDS, Counts, Kind, count
from pyro_assets.generator.fleet import SERVICES, Pod, Service, pods_of_shard
from pyro_assets.generator.load import rng
from pyro_assets.generator.manifest import SegmentEntry, rows_of, session_id
from pyro_assets.generator.pprof.rows import LabelledProfile, segment_columns
from pyro_assets.generator.programs import Program, build_program
from pyro_assets.generator.upload import ProfileEncoder
from pyro_assets.storage.keys import segment_key
from pyro_assets.storage.ulid import make_ulid

#: Functions whose totals are recorded unless others are named; each language has some.
WATCHED = (
    "net/http.HandlerFunc.ServeHTTP",
    "encoding/json.Unmarshal",
    "encoding/json.(*decodeState).value",
    "runtime.gcDrain",
    "syscall.Syscall",
    "org/springframework/web/servlet/DispatcherServlet.doDispatch",
    "com/fasterxml/jackson/databind/deser/BeanDeserializer.vanillaDeserialize",
    "dispatch_request",
    "prüfe_bestand",
)

#: How often one more pod's profiles arrive in time for the same segment.
_COMPANY = 0.2
#: How often an upload holds a profile of each kind.
_SHARE = {"cpu": 1.0, "heap": 0.6, "goroutine": 0.4, "mutex": 0.4}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to make: equal recipes make equal segments at equal times.

    Attributes:
        seed: of everything that looks random.
        shards: numbered from 1.
        uploads: pods whose profiles are in one segment at most; mostly it is one, so a segment has about 22 kB.
        retry_share: how often (0 to 1) an upload is repeated in its shard's next segment, as retried pushes are.
        functions: names whose totals are recorded.
        services: who is profiled.
    """

    seed: int = 1
    shards: int = 4
    uploads: int = 4
    retry_share: float = 0.01
    functions: tuple[str, ...] = WATCHED
    services: tuple[Service, ...] = SERVICES


@dataclass(frozen=True, slots=True)
class Segment:
    """A finished object and what it holds."""

    entry: SegmentEntry
    data: bytes


class SegmentMaker:
    """Makes the segments of a recipe; remembers per shard what the next segment may repeat."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._programs: dict[Service, Program] = {}
        self._encoders: dict[tuple[Service, str], ProfileEncoder] = {}
        self._pods = {
            shard: pods_of_shard(shard, recipe.shards, recipe.services) for shard in range(1, recipe.shards + 1)
        }
        self._retries: dict[int, list[Counts]] = {}

    def make(self, shard: int, slot: int, created_ms: int) -> Segment | None:
        """The segment of a shard for time slot number `slot`, created at `created_ms` (Unix ms).

        The pods of a shard take turns from slot to slot. None if no pod belongs to the shard.
        """
        pods = self._turn(shard, slot)
        if not pods:
            return None
        recipe = self.recipe
        profiles = self._retries.pop(shard, [])
        for pod in pods:
            own = self._upload(pod, created_ms)
            if rng(recipe.seed, "retry", shard, slot, pod.name).random() < recipe.retry_share:
                self._retries.setdefault(shard, []).extend(own)
            profiles = profiles + own
        entropy = hashlib.sha256(f"{recipe.seed}/{shard}/{slot}/{created_ms}".encode()).digest()[:10]
        ulid = make_ulid(created_ms, entropy)
        columns = segment_columns([self._labelled(counts) for counts in profiles])
        identity = BlockIdentity(ulid, shard, 0, b"pyro-assets-generator")
        data = write_segment(columns, identity).data
        rows = tuple(row for counts in profiles for row in rows_of(counts, recipe.functions))
        return Segment(SegmentEntry(segment_key(shard, ulid), ulid, shard, created_ms, len(data), rows), data)

    def _turn(self, shard: int, slot: int) -> Sequence[Pod]:
        """The pod whose turn it is, and by chance others."""
        pods = self._pods[shard]
        if not pods:
            return []
        turn = pods[slot % len(pods)]
        dice = rng(self.recipe.seed, "turn", shard, slot)
        others = [pod for pod in pods if pod != turn]
        extra = 0
        while extra < min(self.recipe.uploads - 1, len(others)) and dice.random() < _COMPANY:
            extra += 1
        return [turn, *dice.sample(others, extra)]

    def _upload(self, pod: Pod, created_ms: int) -> list[Counts]:
        """What a pod sends shortly before `created_ms`: all its profiles cover the same seconds."""
        dice = rng(self.recipe.seed, "upload", pod.service.tenant, pod.name, created_ms)
        ended_ms = created_ms - dice.randrange(20, 480)
        begun_ns = (ended_ms - PROFILE_SECONDS * 1000) * 1_000_000 + dice.randrange(1_000_000)
        program = self._program(pod.service)
        return [
            count(program, pod, kind, begun_ns, self.recipe.seed)
            for kind in KINDS
            if dice.random() < _SHARE[kind.key] and pod.service.language in kind.languages
        ]

    def _labelled(self, counts: Counts) -> LabelledProfile:
        pod = counts.pod
        labels = pod.public_labels | {"__name__": counts.kind.name, "__session_id__": session_id(counts.session)}
        return LabelledProfile(
            tenant=pod.service.tenant, labels=labels, data=self._encoder(pod.service, counts.kind).encode(counts)
        )

    def _program(self, service: Service) -> Program:
        if service not in self._programs:
            self._programs[service] = build_program(service, self.recipe.seed)
        return self._programs[service]

    def _encoder(self, service: Service, kind: Kind) -> ProfileEncoder:
        key = (service, kind.key)
        if key not in self._encoders:
            self._encoders[key] = ProfileEncoder(self._program(service), kind)
        return self._encoders[key]
