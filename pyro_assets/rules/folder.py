"""A folder of configuration files as one configuration.

Functions and rules of all files count together; every other part may stand in one file only. What a single file may
say is for `config`.
"""

from pathlib import Path
from typing import Any

from pyro_assets.errors import ConfigError
from pyro_assets.rules.config import SeriesConfig, check_config, load_config
from pyro_assets.rules.language import Rule
from pyro_assets.rules.yaml_text import show_path


def load_folder(folder: Path) -> SeriesConfig:
    """Read all files that end in .yaml, .yml or .json as one configuration.

    Raises:
        ConfigError: a file is refused, two say what only one may say, or there is none.
    """
    files = sorted(file for file in folder.iterdir() if file.suffix in (".yaml", ".yml", ".json") and file.is_file())
    if not files:
        raise ConfigError(str(folder), 0, "the folder", "cannot be read: no file in it ends in .yaml, .yml or .json")
    problems: list[ConfigError] = []
    parts: dict[str, Any] = {}
    owner: dict[tuple[str, str], str] = {}
    for file in files:
        try:
            config = load_config(file)
        except ConfigError as error:
            problems += error.problems
            continue
        for field in sorted(config.model_fields_set):
            value = getattr(config, field)
            if field == "functions":
                names, parts[field] = list(value), parts.get(field, {}) | value
            elif field in ("rules", "recording_rules"):
                names = [one.name if isinstance(one, Rule) else one.id for one in value]
                parts[field] = [*parts.get(field, []), *value]
            else:
                names, parts[field] = [""], value
            for name in names:
                first = owner.setdefault((field, name), str(file))
                if first != str(file):
                    what = f"{field}: {name}" if name else field
                    problems.append(ConfigError(str(file), 0, what, f"stands in {first} too; remove one of them"))
    if problems:
        raise ConfigError.of_all(problems)
    merged = SeriesConfig(**parts)
    left = [ConfigError(str(folder), 0, show_path(path), why) for path, why in check_config(merged)]
    if left:
        raise ConfigError.of_all(left)
    return merged
