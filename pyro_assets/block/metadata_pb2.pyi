from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BlockMeta(_message.Message):
    __slots__ = ("format_version", "id", "tenant", "shard", "compaction_level", "min_time", "max_time", "created_by", "size", "datasets", "string_table", "metadata_offset")
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    COMPACTION_LEVEL_FIELD_NUMBER: _ClassVar[int]
    MIN_TIME_FIELD_NUMBER: _ClassVar[int]
    MAX_TIME_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    STRING_TABLE_FIELD_NUMBER: _ClassVar[int]
    METADATA_OFFSET_FIELD_NUMBER: _ClassVar[int]
    format_version: int
    id: str
    tenant: int
    shard: int
    compaction_level: int
    min_time: int
    max_time: int
    created_by: int
    size: int
    datasets: _containers.RepeatedCompositeFieldContainer[Dataset]
    string_table: _containers.RepeatedScalarFieldContainer[bytes]
    metadata_offset: int
    def __init__(self, format_version: _Optional[int] = ..., id: _Optional[str] = ..., tenant: _Optional[int] = ..., shard: _Optional[int] = ..., compaction_level: _Optional[int] = ..., min_time: _Optional[int] = ..., max_time: _Optional[int] = ..., created_by: _Optional[int] = ..., size: _Optional[int] = ..., datasets: _Optional[_Iterable[_Union[Dataset, _Mapping]]] = ..., string_table: _Optional[_Iterable[bytes]] = ..., metadata_offset: _Optional[int] = ...) -> None: ...

class Dataset(_message.Message):
    __slots__ = ("tenant", "name", "min_time", "max_time", "table_of_contents", "size", "labels", "format")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MIN_TIME_FIELD_NUMBER: _ClassVar[int]
    MAX_TIME_FIELD_NUMBER: _ClassVar[int]
    TABLE_OF_CONTENTS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    tenant: int
    name: int
    min_time: int
    max_time: int
    table_of_contents: _containers.RepeatedScalarFieldContainer[int]
    size: int
    labels: _containers.RepeatedScalarFieldContainer[int]
    format: int
    def __init__(self, tenant: _Optional[int] = ..., name: _Optional[int] = ..., min_time: _Optional[int] = ..., max_time: _Optional[int] = ..., table_of_contents: _Optional[_Iterable[int]] = ..., size: _Optional[int] = ..., labels: _Optional[_Iterable[int]] = ..., format: _Optional[int] = ...) -> None: ...
