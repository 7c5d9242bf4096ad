"""Manual pages as plain text: the words and paragraphs of roff source without its markup.

Not a typesetter. Requests that define macros, test conditions or set registers are passed
over; those that carry text (headings, paragraphs, fonts, lists, of both the ``man`` and the ``mdoc`` macros,
groff_man(7) and mdoc(7)) give that text. Lines are filled into paragraphs, except between ``.nf`` and ``.fi``.
"""

from __future__ import annotations

import re

SPECIAL = {
    "bu": "•", "em": "—", "en": "–", "lq": "“", "rq": "”", "oq": "‘", "cq": "’", "aq": "'", "dq": '"', "co": "©", "rg": "®",
    "tm": "™", "hy": "-", "mi": "-", "ti": "~", "ha": "^", "rs": "\\", "bv": "|", "ba": "|", "at": "@", "sh": "#", "Do": "$",
    "de": "°", "+-": "±", "mu": "×", "->": "→", "<-": "←", "<=": "≤", ">=": "≥", "!=": "≠", "==": "≡", "sc": "§", "ga": "`",
    "fo": "‹", "fc": "›", "Fo": "«", "Fc": "»", "eu": "€", "Po": "£", "OK": "✓", "sq": "□", "ci": "○", "la": "⟨", "ra": "⟩",
    "12": "½", "14": "¼", "34": "¾", "R": "®", "Tm": "™", "ul": "_", "sl": "/", "lB": "[", "rB": "]", "lC": "{", "rC": "}",
}  # fmt: skip

ESCAPE = re.compile(
    r"""\\(?:
    ["#].*$ |                                            # comment
    [fFmM](?:\[[^]]*\]|\(..|.) | s[-+]?(?:\[[^]]*\]|\(..|'[^']*'|\d\d?) |
    n[-+]?(?:\[[^]]*\]|\(..|.) | [kgYVO](?:\[[^]]*\]|\(..|.) |
    [hvwobxXZlLDNASR]'[^']*' |                           # motions, drawings, sizes
    \*?\((?P<two>..) | \*?\[(?P<name>[^]]*)\] | \*(?P<one>.) |
    (?P<char>.) | $
    )""",
    re.VERBOSE,
)
PLAIN_CHARS = {"-": "-", "e": "\\", "\\": "\\", " ": " ", "~": " ", "0": " ", "t": "\t", "'": "'", "`": "`", ".": ".", "_": "_"}
ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|((?:\\.|\S)+)')

HEADINGS = {"SH", "SS", "Sh", "Ss"}
BREAKS = {"PP", "P", "LP", "HP", "TP", "TQ", "sp", "br", "Pp", "Bl", "El", "Lp", "SY", "YS", "RS", "RE", "bp", "ti"}
ALTERNATING = {"BR", "RB", "BI", "IB", "IR", "RI"}
WITH_TEXT = {"B", "I", "R", "SM", "SB", "UR", "MT", "OP", "CW", "C"} | ALTERNATING
MDOC = {
    "Nm", "Nd", "Fl", "Ar", "Op", "Oo", "Oc", "Cm", "Ic", "Li", "Ql", "Dq", "Sq", "Pq", "Bq", "Brq", "Aq", "Qq", "Em",
    "Sy", "Pa", "Ev", "Va", "Vt", "Fn", "Fa", "Ft", "Fo", "Fc", "In", "Xr", "Sx", "St", "An", "Ad", "Er", "Dv", "Tn",
    "No", "Ns", "Pf", "Bx", "Fx", "Nx", "Ox", "Ux", "At", "Lk", "Mt", "D1", "Dl", "Do", "Dc", "So", "Sc", "Po", "Pc",
    "Qo", "Qc", "Bo", "Bc", "Ao", "Ac", "Eo", "Ec", "Ap", "Xo", "Xc", "Cd", "Ms", "Rv", "Ex", "Lb", "Rs", "Re", "%A",
    "%T", "%B", "%D", "%J", "%N", "%R", "%U", "%V", "%I", "%P", "%O", "%C", "%Q",
}  # fmt: skip
ENDS_OF_BLOCK = {"de": "..", "de1": "..", "am": "..", "ig": ".."}


def manual_text(source: str) -> str:
    """The text of one manual page; empty when the page only stands in for another (``.so``)."""
    page = _Page()
    skip_to, depth, in_table_format = "", 0, False
    for line in source.splitlines():
        if skip_to:
            skip_to = "" if line.strip() == skip_to else skip_to
        elif depth > 0:
            depth += line.count("\\{") - line.count("\\}")
        elif in_table_format:
            in_table_format = not line.rstrip().endswith(".")
        elif line[:1] in (".", "'"):
            request, _, rest = line[1:].lstrip().partition(" ")
            if request in ENDS_OF_BLOCK:
                skip_to = ENDS_OF_BLOCK[request]
            elif request in ("if", "ie", "el"):
                depth = max(0, line.count("\\{") - line.count("\\}"))
            elif request == "so":
                return ""
            else:
                in_table_format = request == "TS"
                page.request(request, rest)
        else:
            page.line(plain(line))
    page.end_paragraph()
    return "\n\n".join(page.paragraphs)


def plain(text: str) -> str:
    """Text with roff's escape sequences resolved or removed."""
    return ESCAPE.sub(_resolved, text) if "\\" in text else text


class _Page:
    """Paragraphs as they are filled."""

    def __init__(self) -> None:
        self.paragraphs: list[str] = []
        self.current: list[str] = []
        self.filling = True
        self.name = ""

    def line(self, text: str) -> None:
        """One line of text; an empty one ends the paragraph."""
        if text.strip():
            self.current.append(text.strip() if self.filling else text.rstrip())
        else:
            self.end_paragraph()

    def end_paragraph(self) -> None:
        """Close what has been filled so far."""
        if self.current:
            self.paragraphs.append((" " if self.filling else "\n").join(self.current))
        self.current = []

    def request(self, name: str, rest: str) -> None:
        """One control line."""
        if name in ("nf", "EX", "Bd", "fi", "EE", "Ed"):
            self.end_paragraph()
            self.filling = name in ("fi", "EE", "Ed")
        elif name in ("TH", "Dt"):
            words = _arguments(rest)[:2]
            self.line(f"{words[0]}({words[1]})" if len(words) == 2 else " ".join(words))
            self.end_paragraph()
        elif name in HEADINGS:
            self.end_paragraph()
            self.line(" ".join(_arguments(rest)))
            self.end_paragraph()
        elif name in BREAKS:
            self.end_paragraph()
        elif name in ("IP", "It"):
            self.end_paragraph()
            self.line(_mdoc_words(_arguments(rest)) if name == "It" else " ".join(_arguments(rest)[:1]))
        elif name in WITH_TEXT:
            self.line(("" if name in ALTERNATING else " ").join(_arguments(rest)))
        elif name in MDOC:
            self._mdoc(name, _arguments(rest))

    def _mdoc(self, name: str, words: list[str]) -> None:
        if name == "Nm":
            self.name = self.name or " ".join(words[:1])
            words = words or [self.name]
        self.line(_mdoc_words([name, *words]))


def _mdoc_words(words: list[str]) -> str:
    """The words of an mdoc line with the names of inline macros taken out."""
    said: list[str] = []
    dash = ""
    for word in words:
        if word in MDOC:
            dash = "-" if word == "Fl" else dash
        else:
            said.append(dash + word)
            dash = ""
    return re.sub(r" ([.,;:)\]])(?= |$)", r"\1", " ".join(said))


def _arguments(rest: str) -> list[str]:
    """The arguments of a request, quotes and escapes resolved."""
    text = re.sub(r'\\["#].*$', "", rest)
    return [plain((quoted or bare).replace('""', '"')) for quoted, bare in ARGUMENT.findall(text)]


def _resolved(found: re.Match[str]) -> str:
    """What one escape sequence stands for."""
    if (char := found["char"]) is not None:
        return PLAIN_CHARS.get(char, "")
    name = found["two"] or found["name"] or found["one"]
    if name is None:
        return ""
    if re.fullmatch(r"u[0-9A-F]{4,6}", name) and not 0xD800 <= int(name[1:], 16) < 0xE000 and int(name[1:], 16) < 0x110000:
        return chr(int(name[1:], 16))
    return SPECIAL.get(name, "")
