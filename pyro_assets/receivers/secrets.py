"""Secrets by reference: a configuration names a variable or a file, and the value is looked up when it is sent.

A `SecretRef` may be shown, stored and logged; what it refers to may not, so values live as long as a request and
`Redactor` removes them from everything that a receiver says. Literal secrets are refused by `model`.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, model_validator

from pyro_assets.errors import SecretMissing
from pyro_assets.rules.validation import MODEL_CONFIG, refusal

#: What a header may hold: visible ASCII, spaces inside; a newline would begin another header.
_USABLE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_MAX_SECRET_BYTES: Final = 64 * 1024
_SHORTEST_REDACTED: Final = 3
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _check_variable(text: str) -> str:
    if not _VARIABLE.fullmatch(text):
        raise refusal("secret", "is no name of an environment variable; use letters, digits and _")
    return text


class SecretRef(BaseModel):
    """Where a secret is: `{env: NAME}` or `{file: PATH}`."""

    model_config = MODEL_CONFIG | ConfigDict(hide_input_in_errors=True)

    env: Annotated[str, AfterValidator(_check_variable)] | None = None
    file: Annotated[str, StringConstraints(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> "SecretRef":
        if (self.env is None) == (self.file is None):
            raise refusal("secret", "name one place: {env: NAME} or {file: PATH}")
        return self

    def __str__(self) -> str:
        return f"the environment variable {self.env}" if self.env is not None else f"the file {self.file}"

    def resolve(self, environ: Mapping[str, str], receiver: str = "") -> str:
        """Look the secret up, now; a file's last line break does not count.

        Args:
            environ: the environment variables.
            receiver: its name, for messages.

        Raises:
            SecretMissing: there is none, or it cannot be part of a header; says where it was looked for.
        """
        value = environ.get(self.env, "") if self.env is not None else self._read(receiver)
        if not value:
            raise SecretMissing(f"receiver {receiver}: {self} is empty or not set", receiver=receiver)
        if not _USABLE.fullmatch(value):
            why = "holds line breaks, spaces at an end or characters beyond ASCII, which a header cannot carry"
            raise SecretMissing(f"receiver {receiver}: {self} {why}", receiver=receiver)
        return value

    def _read(self, receiver: str) -> str:
        try:
            with Path(self.file or "").open("rb") as file:
                return file.read(_MAX_SECRET_BYTES).decode("utf-8").rstrip("\r\n")
        except OSError as error:
            why = error.strerror or type(error).__name__
        except UnicodeDecodeError:
            why = "it is not UTF-8"
        # Raised here, without the cause: an error about decoding carries the bytes.
        raise SecretMissing(f"receiver {receiver}: {self} cannot be read: {why}", receiver=receiver)


class Redactor:
    """Removes secrets from text that others wrote, such as an answer that repeats the request's headers.

    >>> Redactor(["hunter22"]).redact("bad token hunter22")
    'bad token ***'
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        for secret in secrets:
            self.add(secret)

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"

    def add(self, secret: str) -> None:
        """Remember a secret; its base64 form, as basic authentication sends it, is removed too."""
        if len(secret) >= _SHORTEST_REDACTED:
            self._secrets |= {secret, base64.b64encode(secret.encode()).decode("ascii")}

    def redact(self, text: str) -> str:
        """The text without any secret seen so far."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text
