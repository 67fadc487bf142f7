"""The columns of one pprof profile, all ids resolved to rows.

Only the data class belongs here: `reader` fills it, `rows` and `symbols` use it.
"""

from dataclasses import dataclass
from typing import Any

from pyro_assets.block.columns import I32, I64, U64, Bool


@dataclass(slots=True)
class Profile:
    """One profile of `n` samples and `k` sample types.

    String fields are rows of `strings` (row 0 is empty), location, function and mapping fields rows of these tables.

    Attributes:
        strings: Arrow large_binary array, not always UTF-8.
        sample_type, sample_unit: int64[k], strings.
        value: int64[n, k].
        stack_start: int64[n + 1]; stack_location: int64[s], locations, leaf first.
        label_start: int64[n + 1]; label_key, label_text, label_number, label_unit: int64[l]; a label with text 0 is a
            number.
        mapping_memory_start, mapping_memory_limit, mapping_file_offset: uint64[m]; mapping_file_name,
            mapping_build_id: int64[m], strings; mapping_flags: int32[m] (8 has functions, 4 file names, 2 line
            numbers, 1 inline frames).
        location_mapping: int64[c], mappings, -1 for none; location_address: uint64[c]; location_is_folded: bool[c];
            line_start: int64[c + 1]; line_function: int64[e], functions, -1 where the function is missing;
            line_number, line_column: int64[e]; line 0 of a location is the innermost.
        function_name, function_system_name, function_file_name: int64[f], strings; function_start_line: int64[f].
        comments: int64[...], strings; drop_frames, keep_frames, default_sample_type, doc_url: strings, 0 for none.
        time_ns: Unix time; duration_ns, period: as uploaded; period_type, period_unit: strings.
        dangling: references to mappings and functions that are not in the profile.
    """

    strings: Any
    sample_type: I64
    sample_unit: I64
    value: I64
    stack_start: I64
    stack_location: I64
    label_start: I64
    label_key: I64
    label_text: I64
    label_number: I64
    label_unit: I64
    mapping_memory_start: U64
    mapping_memory_limit: U64
    mapping_file_offset: U64
    mapping_file_name: I64
    mapping_build_id: I64
    mapping_flags: I32
    location_mapping: I64
    location_address: U64
    location_is_folded: Bool
    line_start: I64
    line_function: I64
    line_number: I64
    line_column: I64
    function_name: I64
    function_system_name: I64
    function_file_name: I64
    function_start_line: I64
    comments: I64
    drop_frames: int
    keep_frames: int
    default_sample_type: int
    doc_url: int
    time_ns: int
    duration_ns: int
    period: int
    period_type: int
    period_unit: int
    dangling: int
