"""Names of functions that differ by accident made equal: type arguments, numbers of lambdas and proxies, addresses.

Add a family with its examples in the tests. All are off unless a rule asks for them: folding loses what it folds.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

Family = Literal["generics", "lambdas", "proxies", "addresses"]
FAMILIES: Final[tuple[Family, ...]] = get_args(Family)

_STEPS: Final[dict[Family, tuple[tuple[str, str], ...]]] = {
    # Innermost brackets first, so nested ones take several rounds; Go's [...] and C++'s or Java's <...>.
    "generics": ((r"\[(?:[^\[\]]|\[\])*[^\[\]0-9](?:[^\[\]]|\[\])*\]", "[]"), (r"([\w>])<[^<>()]*[^<>()]?>", r"\1")),
    "lambdas": (
        (r"\$\$Lambda(?:\$[0-9]+)?(?:[/.]0x[0-9a-fA-F]+|/[0-9]+)?", "$$Lambda"),
        (r"\blambda\$([\w<>]+)\$[0-9]+", r"lambda$\1"),
        (r"\.func[0-9]+((?:\.[0-9]+)*)(?:\.func[0-9]+|\.gowrap[0-9]+|\.[0-9]+)*", ".func"),
        (r"\{lambda\(([^(){}]*)\)#[0-9]+\}", r"{lambda(\1)}"),
        (r"\{closure#[0-9]+\}", "{closure}"),
    ),
    "proxies": (
        (r"\$Proxy[0-9]+", "$Proxy"),
        (r"\$\$(EnhancerBy|FastClassBy)(\w*?)\$\$[0-9a-fA-F]+", r"$$\1\2"),
        (r"\$\$SpringCGLIB\$\$[0-9]+", "$$SpringCGLIB"),
        (r"Generated(Method|Constructor|SerializationConstructor)Accessor[0-9]+", r"Generated\1Accessor"),
        (r"\$HibernateProxy\$\w+", "$HibernateProxy"),
    ),
    "addresses": ((r"(?:\+)?\b0x[0-9a-fA-F]{4,16}\b", ""), (r"::h[0-9a-f]{16}$", "")),
}
_ROUNDS: Final = {"generics": 4}


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
        for _ in range(_ROUNDS.get(family, 1)):
            for pattern, replacement in _STEPS[family]:
                # RE2's replacements know \1 only; a dollar sign means itself.
                result = pc.replace_substring_regex(result, pattern=pattern, replacement=replacement)
    return pc.if_else(pc.equal(pc.binary_length(result), 0), names, result)
