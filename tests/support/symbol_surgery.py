"""Changes fields of a good symbols section of one partition and puts the checksums around them right again.

So a test reaches the check that lies behind a checksum. Add here where a field lies; what must come of a change
stands in the tests. Finds its way by the format alone, without the package's reader.
"""

import struct

from tests.oracle.bytes import crc32c

CHUNK, HEADERS = 12, 12 + 64  # offsets from a partition's headers
KINDS = ("locations", "mappings", "functions", "strings")  # in the order of their headers
HEADER_FIELDS = (  # name, offset in the header, struct format
    ("offset", 0, "Q"),
    ("size", 8, "I"),
    ("crc", 12, "I"),
    ("items", 16, "I"),
    ("per block", 20, "I"),
    ("header size", 24, "H"),
    ("format", 26, "H"),
)
INNER_BYTES = {"locations": 28, "mappings": 32, "functions": 24, "strings": 12}
INNER_FIELDS = {
    "locations": ("count", "mapping_size", "lines", "lines_size", "address_size", "folded_size"),
    "mappings": ("count", "file_size", "build_size", "flags_size", "start_size", "limit_size", "offset_size"),
    "functions": ("count", "name_size", "system_size", "file_size", "line_size"),
}


class SymbolSurgery:
    """A mutable section: `data`, and `places`, name -> (offset, struct format)."""

    def __init__(self, section: bytes) -> None:
        self.data = bytearray(section)
        self.footer = len(section) - 24
        self.index = int(struct.unpack_from(">Q", section, self.footer + 8)[0])
        partition = self.index + 36
        chunk = partition + CHUNK
        self.places: dict[str, tuple[int, str]] = {
            "footer magic": (self.footer, "4s"),
            "footer version": (self.footer + 4, "I"),
            "index offset": (self.footer + 8, "Q"),
            "footer crc": (self.footer + 20, "I"),
            "index magic": (self.index, "4s"),
            "index version": (self.index + 4, "I"),
            "entry size": (self.index + 16, "q"),
            "entry offset": (self.index + 24, "q"),
            "index crc": (self.footer - 4, "I"),
            "partitions": (self.index + 32, "I"),
            "chunks": (partition + 8, "I"),
            "chunk offset": (chunk, "q"),
            "chunk size": (chunk + 8, "q"),
            "chunk number": (chunk + 24, "H"),
            "chunk encoding": (chunk + 27, "B"),
            "nodes": (chunk + 36, "I"),
            "chunk crc": (chunk + 60, "I"),
        }
        for number, kind in enumerate(KINDS):
            header = partition + HEADERS + 32 * number
            for name, offset, form in HEADER_FIELDS:
                self.places[f"{kind} {name}"] = (header + offset, form)
            inner = int(struct.unpack_from(">Q", section, header)[0])
            for place, name in enumerate(INNER_FIELDS.get(kind, ("count",))):
                self.places[f"{kind} inner {name}"] = (inner + 4 * place, "I")
            self.places[f"{kind} inner crc"] = (inner + INNER_BYTES[kind] - 4, "I")
            self.places[f"{kind} data"] = (inner + INNER_BYTES[kind], "B")
            if kind == "strings":
                self.places["strings inner bits"] = (inner + 5, "B")
        self.places["chunk data"] = (self.get("chunk offset"), "B")

    def at(self, name: str) -> int:
        """Where a field lies."""
        return self.places[name][0]

    def get(self, name: str) -> int:
        """A field's value."""
        offset, form = self.places[name]
        return int(struct.unpack_from(">" + form, self.data, offset)[0])

    def set(self, name: str, value: int | bytes) -> None:
        """Change a field and nothing else."""
        offset, form = self.places[name]
        struct.pack_into(">" + form, self.data, offset, value)

    def reseal(self) -> bytes:
        """The section with every checksum that its headers still lead to, inner ones first."""
        sealed = []
        for kind in KINDS:
            inner, size = self.at(f"{kind} inner count"), INNER_BYTES[kind]
            if self.get(f"{kind} size"):
                sealed.append((f"{kind} inner crc", inner, inner + size - 4))
            begin = self.get(f"{kind} offset")
            sealed.append((f"{kind} crc", begin, begin + self.get(f"{kind} size")))
        begin = self.get("chunk offset")
        sealed.append(("chunk crc", begin, begin + self.get("chunk size")))
        sealed.append(("index crc", self.index, self.footer - 4))
        sealed.append(("footer crc", self.footer, self.footer + 20))
        for name, begin, end in sealed:
            if 0 <= begin <= end <= len(self.data):
                self.set(name, crc32c(bytes(self.data[begin:end])))
        return bytes(self.data)
