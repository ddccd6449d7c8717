"""What the HTML pages share, which hold strangers' text and need no network: escapes, a policy that lets no script run
but the page's own, data inside a script element, and plotly.
"""

import base64
import gzip
import hashlib
import json
from html import escape
from typing import Any

from toolgen.terminal import visible


def safe(text: str) -> str:
    """Strangers' text for HTML, in an element or in a quoted attribute."""
    return escape(visible(text))


UNPACKING = """async function unpackPlotly() {
  const packed = Uint8Array.from(atob(document.getElementById("library").textContent), char => char.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}
"""
"""Script by which a page runs what ``packed_plotly`` left in its element ``library``; it goes behind the page's own,
whose first words may be a directive."""


def policy(script: str) -> str:
    """A Content-Security-Policy under which a page's script and plotly run and no others, and nothing is loaded."""
    from plotly.offline import get_plotlyjs

    scripts = (script, get_plotlyjs())
    hashes = (base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    # plotly sets styles of its own; images are pictures saved from it and the empty icon.
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def embedded(value: Any) -> str:
    """JSON inside a script element: no text in it can close the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate({ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


def packed_plotly() -> str:
    """plotly's script as it lies in a page: compressed by gzip, in base64; always the same characters."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
