"""What the English word splitter knows of characters and of particular words.

The facts are those of spaCy's blank English tokenizer (3.8), which datatrove's filters
split words with: which characters are peeled off the ends of a word, which part it in
the middle, which contractions, abbreviations and emoticons are split or kept by name.
They are stated here once more, so that no filter needs spaCy; a test compares every
class and every named word with the spaCy installed.

Character classes are runs: base-36 numbers, alternately how many code points to skip and
how many to take.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from curate.kernels.unicode_classes import runs

SPACE, LOWER, UPPER, LETTER, DIGIT, QUOTE = 1, 2, 4, 8, 16, 32
"""White space as Python knows it; letters of the rules (a script without case is both LOWER and UPPER); ASCII digits."""
PREFIX, SUFFIX, SYMBOL, INFIX, BEFORE_PERIOD = 64, 128, 256, 512, 1024
"""Peeled off the front, off the end; a word of its own wherever it stands; may part a word; lets go of a final period."""
PUNCTUATION, TERMINAL = 2048, 4096
"""Unicode categories P*; what ends a sentence."""

SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
DIGITS = "0123456789"
TITLE_CASE = "ƻǅǈǋǲ"
"""Letters that are neither LOWER nor UPPER."""
QUOTES = "\"',`«´»‘’‚“”„\u2329\u232a⟦⟧〈〉《》「」『』【】〔〕（）"
MARKS = "!#&()*:;<>?[]_{}¡·¿،؛؟٪۔।、。！，：；？～—–…"
"""Marks peeled off both ends."""
FRONT_MARKS = "§%=$£¥฿﷼" + "".join(map(chr, range(0x20A0, 0x20C0)))
"""Marks and currencies peeled off the front only."""
PERIOD_MARKS = "%²+-|()*:;<>?!#&[]_{}¡·¿،؛؟٪…！，：；？～"
"""Besides LOWER, QUOTE and DIGIT: what a final period is peeled off after."""
INFIX_MARKS = ".…,-–—~:<>=/+*^"

CASED_LOWER = """
2p q 2s o 1 8 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 2 1 1 1 1 1
1 1 1 1 1 1 1 1 1 1 2 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 2 1 1 1 1 3 2 1 1 1 2
1 3 2 4 1 2 1 3 3 2 1 2 1 1 1 1 1 2 1 1 2 1 1 2 1 3 1 1 1 2 2 2 3 6 1 2 1 2 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 2 1 1 1 1 1 1 1 1 1 1 1 1 1
1 1 1 1 2 2 1 1 1 3 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
7 2 1 2 2 1 1 4 1 1 1 1 1 1 1 1 2p 70 4 1 p 2 3 2p y 1 8 1 2 1f 1 5 1 b 1 b 1 b 1 t 1 f 1 4ra 12 1x d 1 y 2u 1 1 1 1 1 1 1 1 1 1 1 1 1 1
1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 9 1
1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 2n5 1 3 2 1 1 1 1 1 1 4 1 1 2 1 6 o87 1 1 1 1 1 1 1 1 1 1 1 1 3 1 1 1 1 1 1 1
1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 8 1 1 1 1 2 1 1 1 1 1 1
1 1 1 4 1 1 1 2 1 1 3 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 5 1 5 1 1 1 1 1 1s 1 mt 17 5 5 gkc q
"""
CASED_UPPER = """
1t q 2t n 1 7 x 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 2 1 1 1 1
1 1 1 1 1 1 1 1 1 1 1 2 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 2 1 1 1 1 3 2 1 1 1
2 1 3 2 4 1 2 1 3 3 2 1 2 1 1 1 1 1 2 1 1 2 1 1 2 1 3 1 1 1 2 3 1 7 1 2 1 2 1 2 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 2 1 1 1 1 1 1 1 1 1 1 1 1
1 1 1 1 1 2 1 2 1 1 3 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
1 7 2 1 2 2 1 1 4 1 1 1 1 1 1 1 1 8n 1 1 3 1 1 1 2 1 p 2e 2 1 8 1 2 2 w 2o 1 5 1 b 1 b 1 b 1 t 1 f 1 4yf 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 9 1 1
1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 2n5 1 1 3 2 1 1 1 1 1 1 4 1 1 2 1 8 2 o82 1 1 1 1 1 1 1 1 1 1 1 1 1 3 1 1 1 1 1 1
1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 a 1 1 1 1 2 1 1 1 1 1 1 1
1 4 1 1 1 2 1 1 1 3 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 5 1 5 1 1 1 1 h9k q
"""
UNCASED = """
13l 2s 17 17 z 2w f r 28 1c 80 u 1u 74 ao ao 3k 3k lc hs 5c0 9s g 7k 5c 1c g 5hc 1s g74 2dc 8mo 6kw e8 t 45 x a3 i 3c 14 c 1g w w 3x
1b7n 58 n8 74 2kg wyo w dm8 2ds f4
"""
SYMBOLS = """
4m 1 2 1 4 1 1 1 r5 1 7e 2 3j 2 5q 1 a 1 j 2 6v 1 eb 1 ad 1 3m 6 1 1 3o 1 5r 1 15 1 av 3 f 1 1 3 2 6 k 1 1 1 1 1 3p 8 1 6 1 2 5 4 5h 2
kw a 146 1 4d y 9t a 9 9 137 2 1 4 1 2 a 1 1 2 6 6 1 1 1 1 1 1 4 1 b 2 e 1 1 2 1 1 1m 2 9 5 2 4 1 2 1 2 1 7 1 v 2 2 1 1 1 v 7g 8 4 k 2 7
2 29 1 u p 14 6 1x p b 29 26 m 53 1 9 1 1i 8 33 1 6w 18 18 1s 74 e8 1c l 2 6 13 2 w 2 1d 1 1h 6e 6 b9 q 1 2h c 5y q c 8 1 d 2 c 1 l 2 6
2 9c 2 4 a w 10 s v b u 8 1 f w a 13 f 1r 1 74 534 1s h3k 1j o1 4 a 2 1 1 fx 3 ghv 1 di 1 3 1 4 2 d 2 8p 9 1l h 2 3 1 c 4 1 1b 19 1a2 2
gf 1 2gm 1 gl8 4 5 1 g2e 1 3tv 6u a 13 2 1o 5 3 m 2 7 u 4 1n n 1u 3 1 56 2f x5 e8 1j 4 1e 8 1 e 1 2 3l1 1 nn 18 4 2s c f 2 f 1 f 1 11 q
2k 4 1p 1l t d 18 4 9 7 2 e 6 4a 6z 5 k5 b d 3 a 6 38 c 2h 13 c 4 1k 8 a 6 14 8 u 2a c 4 1b 1 1d 2 4 3 1 1 13 d a 6 3 d 1c 2o e
"""
PUNCTUATIONS = """
x 3 1 6 1 4 a 2 3 2 q 3 1 1 r 1 1 1 z 1 5 1 3 1 a 2 3 1 3 1 ji 1 8 1 cy 6 15 2 1f 1 1 1 2 1 2 1 18 2 k 2 1 2 d 1 1 3 22 4 2u 1 17 e 6h 3
1i f v 1 79 2 a 1 3w 1 3c 1 3d 1 au 1 c 1 a7 1 2i 1 a 2 4o f 1 1 11 4 1z 1 22 5 4 2 33 6 4r 1 h0 9 47 1 h9 1 18 2 26 3 1z 2 4d 3 1 3 11
b 8p 2 60 2 3k 7 1 6 4s 7 s 2 3h 4 1n 5 1q 2 1s 8 b 1 n0 o 8 k 1 d 1 c u 2 e 2 hl 4 t 2 u5 e 27 2 v a b7 m 1r 4 w 2 l7 4 1 2 34 1 3z 1b
1 w 2 c bn 3 4 a 2 c g 1 c 1 2q 1 2i 1 mwy 2 7h 3 2r 1 a 1 37 6 ak 4 2e 2 14 3 1 1 1d 2 1b 1 2p d g 2 3g 4 3i 2 g 2 6x 1 g2a 2 5s a m z
1 e 1 1 4 1 1 2 45 3 1 6 1 4 a 2 3 2 q 3 1 1 r 1 1 1 1 7 be 3 ik 1 1c 1 bi 1 kn 1 5j 1 v 1 7k 9 12 1 34 7 1u 7 2h 4 ls 1 4n 5 18 4 59 7
31 2 1 4 3i 4 1c 2 27 4 4 1 d 1 1 3 2g 6 2z 1 bl 5 a 2 1 1 2w 1 6y n 2x 3 s d 24 1 3m 3 70 1 7c 3 4b 1 2k 8 2b 3 1 5 bi 5 16 2 hx 2 7a 1
vk 5 29o 2 bjv 2 3p 1 1t 5 8 1 nm 4 93 1 f5o 1 5wn 5 2xe 2
"""
TERMINALS = """
x 1 c 1 g 1 11l 1 45 1 50 1 17 3 6u 1 a2 2 1d0 2 ly 1 4 2 lh 1 5i 2 5o 1 5 1 8q 2 9u 4 4u 2 2 2 63 2 1t 2 qk 2 9 3 2qs 1 d 1 cl 1 n3w 1
7i 2 6b 1 3 1 am 2 2e 2 2n 1 48 2 43 3 40 2 6x 1 g9y 1 3 2 4p 1 c 1 g 1 1t 1 25w 2 167 2 39 4 3j 3 3l 2 6 1 g 2 2g 2 1 2 30 1 bl 2 ad 2
5 f 2x 2 6x 3 lf 2 2f 2 bo 2 ffv 2 3p 1 1t 2 b 1 g2i 1 5wo 1
"""

UNITS = """
km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa mbar mb MB kb KB gb GB
tb TB T G M K % км км² км³ м м² м³ дм дм² дм³ см см² см³ мм мм² мм³ нм кг г мг м/с км/ч кПа Па мбар Кб КБ кб Мб МБ мб Гб ГБ гб Тб ТБ
тбكم كم كم² كم³ م م² م³ سم سم² سم³ مم مم² مم³ غرام جرام جم كغ ملغ كوب اكواب + US$ C$ A$ $ £ ¥ ฿ ﷼
"""
"""Peeled off after a digit, currencies and plus among them; U+20A0 to U+20BF come on top."""

EMOTICONS = """
(*_*) (-8 (-: (-; (-_-) (._.) (: (; (= (>_<) (^_^) (o: (¬_¬) (ಠ_ಠ) (╯°□°）╯︵┻━┻ )-: ): -_- -__- ._. 0.0 0.o 0_0 0_o 8) 8-) 8-D 8D :'( :')
:'-( :'-) :( :(( :((( :() :) :)) :))) :* :-( :-(( :-((( :-) :-)) :-))) :-* :-/ :-0 :-3 :-> :-D :-O :-P :-X :-] :-o :-p :-x :-| :-} :/ :0
:1 :3 :> :D :O :P :X :] :o :o) :p :x :| :} ;) ;-) ;-D ;D ;_; <.< </3 <3 <33 <333 =( =) =/ =3 =D =[ =] =| >.< >.> >:( >:o ><(((*> @_@ O.O
O.o O_O O_o V.V V_V XD XDD [-: [: [= ]= ^_^ ^__^ ^___^ o.0 o.O o.o o_0 o_O o_o v.v v_v xD xDD ¯\\(ツ)/¯ ಠ_ಠ ಠ︵ಠ
"""
KEPT = """
' '' \\") <space> C++ \\t \\n — ä. ö. ü. em 'em ll 'll nuff 'nuff 's 'S ‘s ‘S 'd 're and/or w/o 'Cause 'cause 'cos 'Cos 'coz 'Coz 'cuz 'Cuz
'bout ma'am Ma'am o'clock O'clock Mt. Ak. Ala. Apr. Ariz. Ark. Aug. Calif. Colo. Conn. Dec. Del. Feb. Fla. Ga. Ia. Id. Ill. Ind. Jan. Jul.
Jun. Kan. Kans. Ky. La. Mar. Mass. Mich. Minn. Miss. N.C. N.D. N.H. N.J. N.M. N.Y. Neb. Nebr. Nev. Nov. Oct. Okla. Ore. Pa. S.C. Sep.
Sept. Tenn. Va. Wash. Wis. a.m. Adm. Bros. co. Co. Corp. D.C. Dr. e.g. E.g. E.G. Gen. Gov. i.e. I.e. I.E. Inc. Jr. Ltd. Md. Messrs. Mo.
Mont. Mr. Mrs. Ms. p.m. Ph.D. Prof. Rep. Rev. Sen. St. vs. v.s.
"""
"""Words kept whole; the apostrophe may also be U+2019 everywhere below."""
DROPPED_G = "doin goin nothin nuthin somethin ol lovin havin"
"""Kept whole with and without an apostrophe after them."""
PARTED = """
y'|all y|all how|'d|'y How|'d|'y not|'ve not|ve Not|'ve Not|ve can|not Can|not gon|na Gon|na got|ta Got|ta let|'s Let|'s c'm|on C'm|on
"""
ENDINGS = {
    "i": "'m 'm|a",
    "i you he she it we they": "'ll 'll|'ve 'd 'd|'ve",
    "i you we they": "'ve",
    "you we they": "'re",
    "he she it who what when where why how there that this": "'s",
    "who what when where why how there that this these those": "'ll 'll|'ve 'd 'd|'ve",
    "who what when where why how there these those": "'re 've",
    "ca could do does did had may might must need ought sha should wo would": "n't n't|'ve",
    "could might must should would": "'ve",
    "ai are is was were have has dare": "n't",
}
"""Words and what is cut off them; also without apostrophes, and with a capital."""
NOT_PARTED = "Ill ill Its its Hell hell Shell shell Shed shed were Were Well well Whore whore"


def named_words() -> dict[str, tuple[str, ...]]:
    """Every word that is split or kept by name, with its pieces, which join to the word."""
    written = [*EMOTICONS.split(), *KEPT.split(), *PARTED.split(), *(f"{letter}." for letter in "abcdefghijklmnopqrstuvwxyz")]
    for stem in DROPPED_G.split():
        written += [stem, stem.title(), stem + "'", stem.title() + "'"]
    for stems, endings in ENDINGS.items():
        for ending in endings.split():
            forms = [f"{stem}|{ending}" for word in stems.split() for stem in (word, word.title())]
            written += forms + [form.replace("'", "") for form in forms]
    for hour in range(1, 13):
        written += [f"{hour}|{half}" for half in ("am", "pm", "a.m.", "p.m.")]
    written += [f"°|{scale}|." for scale in "cfkCFK"]
    whole = set(EMOTICONS.split())  # where a bar is an eye or a mouth
    pieces = {tuple([word] if word in whole else word.split("|")) for word in written}
    pieces |= {tuple(piece.replace("'", "’") for piece in word) for word in pieces}
    return {word: parts for parts in sorted(pieces) if (word := "".join(parts)) not in NOT_PARTED.split()}


def unit_words() -> list[str]:
    """Every unit and currency that is peeled off after a digit."""
    return [*UNITS.split(), *map(chr, range(0x20A0, 0x20C0))]


@cache
def character_flags() -> np.ndarray:
    """The classes above of every code point, added up: read-only uint16 array of 0x110000."""
    flags = np.zeros(0x110000, np.uint16)
    packed = {
        CASED_LOWER: LOWER | LETTER | BEFORE_PERIOD,
        CASED_UPPER: UPPER | LETTER,
        UNCASED: LOWER | UPPER | LETTER | BEFORE_PERIOD,
        SYMBOLS: PREFIX | SUFFIX | SYMBOL | INFIX,
        PUNCTUATIONS: PUNCTUATION,
        TERMINALS: TERMINAL,
    }
    for code_points, flag in packed.items():
        for first, end in runs(code_points):
            flags[first:end] |= flag
    listed = [(SPACES, SPACE), (DIGITS, DIGIT | BEFORE_PERIOD), (TITLE_CASE, LETTER), (QUOTES, QUOTE | PREFIX | SUFFIX | BEFORE_PERIOD)]
    listed += [(MARKS, PREFIX | SUFFIX), (FRONT_MARKS, PREFIX), (PERIOD_MARKS, BEFORE_PERIOD), (INFIX_MARKS, INFIX), ("…", SYMBOL)]
    for characters, flag in listed:
        flags[[ord(c) for c in characters]] |= flag
    flags.flags.writeable = False
    return flags
