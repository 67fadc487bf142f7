"""Names of functions that differ by accident made equal: type arguments, numbers of lambdas and proxies, addresses.

Add what a runtime makes up, with its examples in `tests/series/folded_names.txt`. All families are off unless a rule
asks for them: folding loses what it folds. RE2 runs the expressions, in time linear in the names.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

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
