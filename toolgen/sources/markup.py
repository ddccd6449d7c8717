"""Documentation markup as plain text. Knows the tags that AWS's service models use, and nothing of tools."""

import re
from html.parser import HTMLParser

_BLOCKS = frozenset("br dd dl dt h1 h2 h3 h4 important li note ol p para pre table td th tr ul xhtml zonbook".split())
_CODE = frozenset(("a", "code", "filename", "link", "replaceable"))
_INLINE = _CODE | frozenset("b em fullname i span strong sub sup text u value".split())
_OPEN, _CLOSE = "\x01", "\x02"
_GLUED = re.compile(f"(?<=[A-Za-z])[{_OPEN}{_CLOSE}]+(?=[A-Za-z]{{2}})")
_LOOSE_STOP = re.compile(rf" *{_CLOSE}[ {_CLOSE}]*(?=[.,;:!?)](?:\s|$))")
_SEAM = re.compile(f"[{_OPEN}{_CLOSE}]")
_SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bvs)[.!?](?=\s+[A-Z(\[\"'])")


def plain_text(html: str) -> str:
    """Documentation as plain text: one line a block (paragraph, list item, note, heading), entities decoded.

    Markup is what AWS uses as such; any other tag, as in ``arn:aws:events:<region>``, is part of the text and stays.
    """
    parser = _PlainText()
    parser.feed(html)
    parser.close()
    text = _SEAM.sub("", _LOOSE_STOP.sub("", _GLUED.sub(" ", "".join(parser.parts))))
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


class _PlainText(HTMLParser):
    """Collects text; blocks end lines. Code and links leave seams, so that ``the<code>X</code>`` can be parted."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data.replace("\n", " "))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._mark(tag, _OPEN, self.get_starttag_text() or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._mark(tag, "", self.get_starttag_text() or "")

    def handle_endtag(self, tag: str) -> None:
        self._mark(tag, _CLOSE, f"</{tag}>")

    def _mark(self, tag: str, seam: str, literal: str) -> None:
        if tag in _BLOCKS:
            self.parts.append("\n")
        elif tag in _CODE:
            self.parts.append(seam)
        elif tag not in _INLINE:
            self.parts.append(literal)


def summary(html: str, max_text: int) -> str:
    """First sentence of a documentation as plain text, cut at a word to at most ``max_text`` characters."""
    first, _, _ = plain_text(html).partition("\n")
    end = _SENTENCE_END.search(first)
    sentence = first[: end.end()] if end else first
    if len(sentence) <= max_text:
        return sentence
    return (sentence[:max_text].rpartition(" ")[0] or sentence[: max_text - 1]) + "…"
