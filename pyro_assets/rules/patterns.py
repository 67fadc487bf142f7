"""Patterns of function names: exact names, globs and regular expressions, as RE2 runs them.

Here, too:
* names of functions that differ by accident made equal: type arguments, numbers of lambdas and proxies, addresses.

Add a way to write names here. Matching takes time linear in the names whatever the pattern, because RE2 (in Arrow) does
it; what RE2 finds too large is refused when a rule is read. Which stacks contain the names is for `stacks`.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Literal, get_args

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, model_validator

from pyro_assets.block.columns import Bool
from pyro_assets.rules.re2 import RegexProblem, check_regex, is_taken, match_whole
from pyro_assets.rules.validation import MODEL_CONFIG, refusal

_MAX_CHARACTERS: Final = 2000
# So many expressions are tried as one before each is tried on what is left.
_TOGETHER: Final = 25
# A glob whose only `*` is its last character.
_PLAIN_BEGINNING: Final = re.compile(r"(?s)((?:[^*?\\]|\\.)*)\*")


class Pattern(BaseModel):
    """Names of functions: exactly one of the three; case counts, and a name must match as a whole.

    Attributes:
        exact: one name; plain text means the same.
        glob: `*` stands for any characters, `?` for one; a backslash takes their meaning away.
        regex: an expression of RE2.
    """

    model_config = MODEL_CONFIG

    exact: str | None = None
    glob: str | None = None
    regex: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "Pattern":
        given = [text for text in (self.exact, self.glob, self.regex) if text is not None]
        if len(given) != 1 or not given[0]:
            raise refusal("pattern", "write one of exact, glob and regex, and not empty")
        if len(given[0]) > _MAX_CHARACTERS:
            raise refusal("pattern", f"is longer than {_MAX_CHARACTERS} characters; write several patterns")
        if self.exact is None:
            try:
                check_regex(self.expression)
            except RegexProblem as error:
                raise refusal("pattern", f"{given[0]!r}, {error}") from error
        return self

    @property
    def expression(self) -> str:
        """The expression for RE2, not anchored: `match_names` does that."""
        if self.regex is not None:
            return self.regex
        return glob_expression(self.glob) if self.glob is not None else re.escape(self.exact or "")

    def show(self) -> str:
        """For people."""
        if self.exact is not None:
            return self.exact
        return f"glob {self.glob}" if self.glob is not None else f"regex {self.regex}"


def _from_text(value: Any) -> Any:
    return {"exact": value} if isinstance(value, str) else value


#: Makes plain text an exact name.
from_text: Final = BeforeValidator(_from_text)


@lru_cache(maxsize=4096)
def glob_expression(glob: str) -> str:
    r"""A glob as RE2's expression.

    >>> glob_expression("net/http.(\\*Server).*")
    'net/http\\.\\(\\*Server\\)\\..*'
    """
    result, at = "", 0
    while at < len(glob):
        char = glob[at]
        if char == "\\" and at + 1 < len(glob):
            at += 1
            result += _quote(glob[at])
        else:
            result += {"*": ".*", "?": "."}.get(char) or _quote(char)
        at += 1
    return result


@lru_cache(maxsize=4096)
def _beginning(glob: str | None) -> str | None:
    """What names begin with, of a glob that is this and a `*`; None of any other."""
    found = None if glob is None else _PLAIN_BEGINNING.fullmatch(glob)
    return None if found is None else re.sub(r"(?s)\\(.)", r"\1", found[1])


def _quote(char: str) -> str:
    return char if char.isalnum() or char in "_/" or ord(char) > 127 else f"\\{char}" if char.isprintable() else char


def match_names(names: Any, patterns: Sequence[Pattern]) -> Bool:
    """Which names match which patterns; every name is looked at once for all exact names, once for all expressions.

    Args:
        names: large_string array of distinct names; an empty name matches nothing.
        patterns: distinct patterns.

    Returns:
        bool[patterns, names].
    """
    import pyarrow.compute as pc

    result = np.zeros((len(patterns), len(names)), dtype=np.bool_)
    if not len(names):
        return result
    exact = [position for position, pattern in enumerate(patterns) if pattern.exact is not None]
    if exact:
        wanted = pa.array([patterns[position].exact for position in exact], type=names.type)
        found = pc.index_in(names, options=pc.SetLookupOptions(value_set=wanted)).fill_null(-1).to_numpy()
        hit = np.flatnonzero(found >= 0)
        result[np.array(exact).take(found.take(hit)), hit] = True
    is_named = np.asarray(pc.binary_length(names).to_numpy(zero_copy_only=False) > 0)
    others = []
    for position, pattern in enumerate(patterns):
        beginning = _beginning(pattern.glob)
        if beginning is not None:
            # Comparing bytes takes a fifth of an expression's time, most of which goes into making it.
            found = pc.starts_with(names, beginning).to_numpy(zero_copy_only=False)
            np.logical_and(found, is_named, out=result[position])
        elif pattern.exact is None:
            others.append(position)
    for begin in range(0, len(others), _TOGETHER):
        some = others[begin : begin + _TOGETHER]
        place = np.flatnonzero(_any_of(names, tuple(patterns[position].expression for position in some)) & is_named)
        left = names.take(pa.array(place))
        for position in some:
            if len(some) == 1:
                result[position, place] = True
            else:
                result[position, place] = match_whole(left, patterns[position].expression)
    return result


def _any_of(names: Any, expressions: tuple[str, ...]) -> Bool:
    together = _together(expressions)
    return np.ones(len(names), dtype=np.bool_) if together is None else match_whole(names, together)


@lru_cache(maxsize=256)
def _together(expressions: tuple[str, ...]) -> str | None:
    """Expressions as one, None where that is too large for RE2."""
    joined = "|".join(f"(?:{expression})" for expression in expressions)
    return joined if is_taken(joined) else None


Family = Literal["generics", "lambdas", "proxies", "addresses"]
FAMILIES: Final[tuple[Family, ...]] = get_args(Family)
# What may follow the name of a class that the JVM hides: its address, a number.
_HIDDEN: Final = r"(?:[/.+]0x[0-9a-fA-F]+)*(?:[/.][0-9]+)?"
# Without brackets but those of arrays, and not numbers alone: what is inside of Go's and .NET's type arguments.
_ARGUMENTS: Final = r"(?:[^\[\]]|\[[0-9]*\])*[^\[\]0-9](?:[^\[\]]|\[[0-9]*\])*"
_STEPS: Final[dict[Family, tuple[tuple[str, str], ...]]] = {
    # Innermost brackets first, so nested ones take several rounds; Go's and .NET's [...] and C++'s, Rust's and C#'s
    # <...>. What stands by itself ([unknown], <module>) or marks a kind of frame (_[j]) is no argument.
    "generics": (
        (r"(, |[A-Za-z0-9*)\]>\[,])\[" + _ARGUMENTS + r"\]", r"\1[]"),
        (r"([\w>])(?:::)?<(?:[^<>()]|\([^<>()]*\))+>", r"\1"),
    ),
    "lambdas": (
        # Java: classes of lambdas, with the name of their method or without, and the methods themselves.
        (r"\$\$Lambda\$([A-Za-z_][\w$]*?)(?:\$[0-9]+)+" + _HIDDEN + r"\b", r"$$Lambda$\1"),
        (r"\$\$Lambda(?:\$[0-9][0-9a-f]*|\$[0-9a-f]{8,})?" + _HIDDEN + r"\b", "$$Lambda"),
        (r"(LambdaForm\$\w+)" + _HIDDEN + r"\b", r"\1"),
        (r"\$lambda[$-][0-9]+", "$lambda"),  # Kotlin
        (r"\blambda\$([\w<>$]+?)(?:\$[0-9]+)+\b", r"lambda$\1"),
        (r"(\$anonfun)((?:\$[A-Za-z_]\w*)*)(?:\$[0-9]+)+", r"\1\2"),  # Scala
        (r"(\$_(?:\w*?_)?closure)[0-9]+(?:_closure[0-9]+)*", r"\1"),  # Groovy
        (r"\$(\w+?)__[0-9]+\b", r"$\1__"),  # Clojure
        (r"\$eval[0-9]+\b", "$eval"),
        # Go.
        (r"\.func[0-9]+(?:\.func[0-9]+|\.gowrap[0-9]+|\.deferwrap[0-9]+|-range[0-9]+|\.[0-9]+)*\b", ".func"),
        (r"\.(gowrap|deferwrap)[0-9]+\b", r".\1"),
        (r"-range[0-9]+\b", "-range"),
        # .NET: lambdas, local functions, state machines, classes of what is captured, anonymous types; F# and VB.
        (r">([bd])__[0-9]+(?:_[0-9]+)*", r">\1__"),
        (r">g__(\w+)\|[0-9]+(?:_[0-9]+)?", r">g__\1"),
        (r"<>(c__DisplayClass|f__Anonymous(?:Type|Delegate)|o__)[0-9]+(?:_[0-9]+)*", r"<>\1"),
        (r"\blambda_method[0-9]+\b", "lambda_method"),
        (r"([A-Za-z_]\w*@)[0-9]+(?:-[0-9]+)?(\.[A-Za-z]|\(|$)", r"\1\2"),
        (r"(_Lambda|_Closure)\$__[0-9]+(?:-[0-9]+)*", r"\1$__"),
        # C++ and Rust.
        (r"\{lambda\(([^(){}]*)\)#[0-9]+\}", r"{lambda(\1)}"),
        (r"'lambda[0-9]+'", "'lambda'"),
        (r"::\$_[0-9]+\b", "::$_"),
        (r"\{((?:async_)?(?:closure|block|fn)(?:_env)?)#[0-9]+\}", r"{\1}"),
    ),
    "proxies": (
        (r"\b(jdk[./])proxy[0-9]+", r"\1proxy"),
        (r"\$Proxy[0-9]+", "$Proxy"),
        (r"\$\$(EnhancerBy|FastClassBy)(\w*?)\$\$[0-9a-fA-F]+", r"$$\1\2"),
        (r"\$\$(SpringCGLIB|FastClass)\$\$[0-9]+", r"$$\1"),
        (r"\bCGLIB\$(\w+)\$[0-9]+\b", r"CGLIB$\1"),
        (r"Generated(Method|Constructor|SerializationConstructor)Accessor[0-9]+", r"Generated\1Accessor"),
        (
            r"\$(Hibernate(?:Basic)?Proxy|Hibernate(?:AccessOptimizer|Instantiator)|ByteBuddy|Mockito(?:Mock|Subclass)"
            r"|auxiliary)\$\w+",
            r"$\1",
        ),
        (r"(_\$\$_(?:jvst|javassist))\w*", r"\1"),
        (r"(\$Access4Jackson(?:Deserializer|Serializer))[0-9a-f]+", r"\1"),
        # Spark and Trino compile queries.
        (r"(GeneratedIteratorForCodegenStage)[0-9]+", r"\1"),
        (r"_20[0-9]{6}_[0-9]{6}_[0-9]+\b", ""),
        # .NET.
        (r"(\bCastle\.Proxies\.[\w.]*?)_[0-9]+\b", r"\1"),
        (r"\bgeneratedProxy_[0-9]+\b", "generatedProxy"),
    ),
    "addresses": (
        (r"\+0x[0-9a-fA-F]{1,16}\b(?:/[0-9]+\b)?", ""),
        (r"(?:[/.@]|\b)0x[0-9a-fA-F]{4,16}\b", ""),
        (r"::h[0-9a-f]{16}\b", ""),
        (r"\.llvm\.[0-9]+\b", ""),
        # Libraries that the JVM unpacks to temporary files.
        (r"(\blib[\w.+-]*?)-?[0-9a-f]{16,}(\.so|\.dylib|\.dll)\b", r"\1\2"),
    ),
}
#: Type arguments inside of type arguments, at most.
_DEEPEST: Final = 8


def normalize(names: Any, families: Sequence[Family]) -> Any:
    """Fold names.

    Args:
        names: large_string array.
        families: which families to fold, in any order.

    Returns:
        An array of the same length; a name that would become empty stays as it is.

    >>> import pyarrow as pa
    >>> names = pa.array(["slices.Sort[int]", "a.B$$Lambda$14/0x0000aa.run"], pa.large_string())
    >>> normalize(names, FAMILIES).to_pylist()
    ['slices.Sort[]', 'a.B$$Lambda.run']
    """
    import pyarrow.compute as pc

    result = names
    for family in FAMILIES:
        if family not in families:
            continue
        for _ in range(_DEEPEST if family == "generics" else 1):
            before = result
            for pattern, replacement in _STEPS[family]:
                # RE2's replacements know \1 only; a dollar sign means itself.
                result = pc.replace_substring_regex(result, pattern=pattern, replacement=replacement)
            if result.equals(before):
                break
    return pc.if_else(pc.equal(pc.binary_length(result), 0), names, result)
