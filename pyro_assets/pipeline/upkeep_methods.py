"""What a pipeline does beside its jobs: merge, retain, sweep, renew lists of functions, and see that all is well.

Add what a schedule or a supervisor asks for as a method that delegates.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from pyro_assets.errors import AccessRefused, ConfigError, SettingsError, StorageUnavailable
from pyro_assets.ledger.beats import Beat
from pyro_assets.pipeline.hours import hours_over
from pyro_assets.pipeline.parts import Parts
from pyro_assets.storage.discovery import what_is_missing
from pyro_assets.storage.keys import PROBE, hour_of

if TYPE_CHECKING:
    from pyro_assets.pipeline.given_up import LeftOut
    from pyro_assets.pipeline.merging import MergeReport
    from pyro_assets.pipeline.rescanning import RescanReport
    from pyro_assets.pipeline.resolving import Resolved
    from pyro_assets.pipeline.retention import Expired, Keep, RetentionReport
    from pyro_assets.pipeline.scrubbing import Damage, ScrubReport


class UpkeepMethods(Parts):
    """Everything that keeps a pipeline running for months."""

    def merge_series(self, *, deadline_monotonic: float | None = None) -> "MergeReport":
        """Merges the files of series of hours that are over; see `merging.merge_hours`."""
        from pyro_assets.pipeline.merging import merge_hours

        return merge_hours(
            self._archive,
            self._ledger,
            self._clock(),
            self._settings.settle_ms,
            deadline_monotonic=deadline_monotonic,
        )

    def retain(
        self,
        keep: "Keep",
        *,
        apply: bool,
        deadline_monotonic: float | None = None,
        progress: "Callable[[Expired], None]" = lambda _: None,
    ) -> "RetentionReport":
        """Removes what is older than `keep` says, or only lists it; see `retention.retain`.

        Raises:
            ConfigError: the file of receivers is refused, so that nobody knows what is still to be sent.
        """
        from pyro_assets.pipeline.retention import retain

        return retain(
            self._archive,
            self._ledger,
            keep,
            self.receiver_starts(),
            self._clock(),
            apply=apply,
            deadline_monotonic=deadline_monotonic,
            progress=progress,
        )

    def scrub(
        self,
        *,
        hours: "Collection[str] | None" = None,
        deadline_monotonic: float | None = None,
        progress: "Callable[[int, int], None]" = lambda _done, _total: None,
    ) -> "ScrubReport":
        """Compares what the archive holds with what was written; see `scrubbing.scrub`."""
        from pyro_assets.pipeline.scrubbing import scrub

        return scrub(
            self._archive,
            self._ledger,
            self._clock,
            self._settings.settle_ms,
            hours=hours,
            deadline_monotonic=deadline_monotonic,
            progress=progress,
        )

    def archived_hours(self) -> list[str]:
        """Hours that are over and have anything in the archive, as a scrub would take them."""
        return self._ledger.hours_to_scrub(hour_of(self._clock() - self._settings.settle_ms))

    def damaged(self) -> "list[Damage]":
        """What of the archive is known to be damaged or missing."""
        return self._ledger.damaged()

    def sweep(self, max_keys: int) -> "RescanReport":
        """Goes on with the slow sweep of the whole source bucket; see `rescanning.sweep`."""
        from pyro_assets.pipeline.rescanning import sweep

        self._guard()
        return sweep(self._source, self._ledger, self._settings, self._clock(), max_keys)

    def list_hours(self, hours: Sequence[str], *, deadline_monotonic: float | None = None) -> "RescanReport":
        """Looks, before a run of these hours, for all that was created in them; see `rescanning.list_hours`."""
        from pyro_assets.pipeline.rescanning import list_hours

        self._guard()
        return list_hours(self._source, self._ledger, self._settings, hours, self._clock(), deadline_monotonic)

    def hours_to_list(self, limit: int) -> list[str]:
        """Hours that are over and were not listed as a whole since: the last ones, at most `limit`, oldest first."""
        listed = self._ledger.listed_hours()
        over = hours_over(self._ledger.hours(), self._settings.settle_ms, self._clock())
        return [hour for hour in over if hour not in listed][-limit:]

    def left_out(self) -> "LeftOut":
        """What is lost, set aside or given up in any hour, and not acknowledged."""
        from pyro_assets.pipeline.given_up import left_out

        return left_out(self._ledger)

    def source_problem(self) -> str:
        """Why the source cannot be Pyroscope's bucket, or does not answer; "" where all is well."""
        try:
            return what_is_missing(self._source)
        except StorageUnavailable as error:
            return str(error)

    def has_rules_to_resolve(self) -> bool:
        """Whether a rule of the ledger that is in force has `top_k`."""
        from pyro_assets.pipeline.resolving import rules_to_resolve

        return self._config is not None and bool(rules_to_resolve(self._ledger, self._config))

    def resolve_rules(self, *, deadline_monotonic: float | None = None) -> "list[Resolved]":
        """Finds the functions of the ledger's rules with `top_k` anew, and saves what changed.

        Args:
            deadline_monotonic: no further rule is begun after this `time.monotonic()`.

        Raises:
            StorageError, BlockError: the archive is damaged or does not answer.
        """
        from pyro_assets.pipeline.resolving import SCHEDULE, resolve_rule, rules_to_resolve

        found = []
        for stored in rules_to_resolve(self._ledger, self._config) if self._config is not None else ():
            if self._config is None or (deadline_monotonic is not None and time.monotonic() >= deadline_monotonic):
                break
            now_ms = self._clock()
            found.append(resolve_rule(self._ledger, self._archive, stored, self._config, now_ms, author=SCHEDULE))
        return found

    def other_configurations(self, what: str) -> list[str]:
        """Notes the configuration of this process, a tick or a run; sentences about others at work on the ledger."""
        from pyro_assets.pipeline.configurations import note, values_of

        try:
            receivers = self.receivers()
        except ConfigError:
            receivers = None
        urls = self._source.url, self._archive.url
        return note(self._ledger, values_of(*urls, self._settings, self._file_hash, receivers), what, self._clock())

    def warnings(self) -> list[str]:
        """What a person should know whenever work begins: sentences, empty where all is well.

        Costs a few requests; a bucket that does not answer is no warning of this.
        """
        from pyro_assets.pipeline.lifetimes import measure

        found = self.other_configurations("run")
        if self._settings.mode != "own":
            return found
        try:
            life = measure(self._source, self._clock(), max_shards=4)
        except StorageUnavailable:
            return found
        if not life.is_short:
            return found
        return [
            *found,
            f"{life.sentence}: an outage of ours that is longer loses profiles; choose observe as the mode of "
            "compaction, or raise Pyroscope's deletion delay",
        ]

    def check_archive(self) -> None:
        """Sees whether the archive can be written to, before work is begun whose result it cannot take.

        Raises:
            SettingsError: it cannot, until a person changes that.
            StorageUnavailable: not now.
        """
        try:
            self._archive.replace(PROBE, b"written to see whether it may\n")
        except AccessRefused as error:
            raise SettingsError(f"the archive cannot be written to: {error}") from error

    def beat(self, run_id: str) -> None:
        """Says that a run is alive, in this process.

        Raises:
            LedgerUnavailable: nobody heard it.
        """
        self._ledger.beat(run_id, self._clock())

    def end_beats(self, run_id: str) -> None:
        """Says that a run will not say anything any more."""
        self._ledger.end_beats(run_id)

    def last_words(self, run_id: str) -> str:
        """Why a run's process ended over one of its jobs; "" where nothing is known."""
        return self._ledger.last_words(run_id)

    def beats(self) -> dict[str, Beat]:
        """Run that did not end in order -> its last sign of life."""
        return self._ledger.beats()
