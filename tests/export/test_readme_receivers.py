"""The README's files of receivers are accepted as they stand there."""

import re
from pathlib import Path

from pyro_assets.receivers.file import parse_receivers

README = Path(__file__).parent.parent.parent / "README.md"


def test_every_example_is_accepted():
    examples = [
        "\n".join(line.removeprefix("   ") for line in block.splitlines()) if block.startswith("   ") else block
        for block in re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    ]
    found = [parse_receivers(text).receivers[0] for text in examples if "receivers:" in text]
    assert [receiver.name for receiver in found] == ["local", "mimir", "cloud", "vm"]
    for receiver in found:
        if receiver.name != "cloud":
            assert receiver.is_idempotent
