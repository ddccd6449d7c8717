"""FuncQA's questions of one hop (ToolkenGPT, arXiv 2305.11554, section 4.1) as texts in which the answer is a call's
result. Knows texts; nothing of rows.
"""

import re
from pathlib import Path

from toolgen.errors import InputError
from toolgen.files import read_jsonl
from toolgen.toolken.texts import AnnotatedText, Span
from toolgen.tools import ToolCatalog

_NAME = re.compile(r"<\w+>")


def one_hop_texts(path: Path, catalog: ToolCatalog) -> list[AnnotatedText]:
    """Read questions as texts that are answered at once.

    The questions come without a solution. A model that has solved some writes the operands out before it calls; here it
    has to see from the question alone what is to be computed, which is harder.

    Args:
        path: JSON lines with ``question``, ``answer`` and ``func``, such as ``<power>(0.89, 8)=0.3936``.
        catalog: Knows the functions.

    Raises:
        InputError: A record lacks one of these, or its function is unknown.
    """
    found = []
    for number, (record, where) in enumerate(read_jsonl(path), start=1):
        question, answer, call = (record.get(key) for key in ("question", "answer", "func"))
        # A sign may stand before the call, as in -<log>(0.001)=3.
        called = _NAME.findall(call) if isinstance(call, str) else []
        if not isinstance(question, str) or answer is None or len(called) != 1 or called[0] not in catalog:
            raise InputError(
                f"{where}: a question needs 'question', 'answer' and 'func', one call of one of "
                f"{', '.join(catalog.ids)}; found {record!r}."
            )
        before = f"Q: {question.strip()}\nA: The answer is "
        result = str(answer)
        span = Span(len(before), len(before) + len(result), called[0], None, result)
        found.append(AnnotatedText(f"one-hop-{number}", f"{before}{result}.", (span,)))
    return found
