"""Which characters end a word and what the others fold to: the tables of ``folding``.

Made from Unicode 14.0, whatever version the running Python has. Kept as base-36 numbers, each counted from the
one before: runs are alternately how many code points to skip and how many to take.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

BREAK, WORD, DIGIT, MARK, ALONE, SPACING, SEVERAL, HANGUL = 0, 1, 2, 3, 4, 5, 6, 7
"""What a character does: ends a word, belongs to one, begins a number, vanishes, is a word of its own, clings to the
character before it, folds to several characters, is a Hangul syllable."""

KIND_SHIFT = 24
TARGET = (1 << KIND_SHIFT) - 1
N_PARTS = 3
"""Most characters that one folds to."""
_HANGUL_FIRST, _HANGUL_END = 0xAC00, 0xD7A4


class FoldTables(NamedTuple):
    """Read-only tables of ``folding``.

    Attributes:
        folds: uint32 of 0x110000: kind << 24 | the character it folds to, or for SEVERAL a row of ``parts``.
        parts: (R, 3) uint32, characters, unused places 0.
    """

    folds: np.ndarray
    parts: np.ndarray


BREAKS = """
0 1c a 7 q 6 q 12 a 1 8 1 6 1 jm 1 3r5 1 1v2 1 d 1 2 b 8 2 4 1 2 3 7 1 1 2 5 1 1b 1 d2 1 15 1 d 2 55 2 d2 1 54 1 211 3 5 6 2 2 14vj
1 3 1 2 2 2 1 1 1 b 2 3 1 1q 1
"""
"""White space, controls, and the punctuation that datatrove 0.10 lists; also what decomposes to one of these."""

MARKS = """
lc 34 7n 5 7d 19 1 1 1 2 1 2 1 1 20 b 1c l g 1 2t 7 2 6 2 2 1 4 z 1 u r 2j b 1m 9 9 1 o 4 1 9 1 3 1 5 17 3 1o 8 16 o 1 w 1j 1 1 1 4
8 4 1 3 7 a 2 t 1 1m 1 4 4 8 1 k 2 q 1 2 2 1l 1 4 2 4 2 2 3 3 1 u 2 3 1 b 2 1l 1 4 5 1 2 4 1 k 2 m 6 1 1 1m 1 2 1 1 4 8 1 7 2 b 2 u
1 1p 1 c 1 1e 1 3 1 1j 1 1 3 5 3 1 4 7 2 b 2 t 1 1m 1 2 1 6 1 5 2 k 2 s 2 1l 2 4 4 8 1 k 2 t 1 20 1 7 3 1 1 2i 1 2 7 c 8 2q 1 2 9 b
6 22 2 r 1 1 1 1 1 1j e 1 5 1 2 5 b 1 10 9 1 2u 4 1 6 1 2 2 2 p 2 4 3 g 4 d 1 2 2 6 1 f 1 jj 3 qa 3 t 2 u 2 u 2 1s 2 1 7 8 1 2 b 9 1
19 3 1 1 39 2 y 1 3a 3 4 2 9 1 6 3 63 2 2 1 1m 1 1 7 1 1 1 1 2 8 6 a 2 1 1c e 1 g 1d 4 1c 1 1 5 1 1 5 1 14 9 c 2 w 4 2 2 1 3 1k 1 1
2 3 1 1 3 1m 8 2 2 48 3 1 d 1 7 4 1 6 1 3 2 5i 1s k0 d 4 1 3 c 2da 3 3x 1 2o w fe 4 2z 2 n9w 1 4 a w 2 28 2 7k 1 3 1 4 1 p 2 5 1 47
2 q i d 1 12 8 p b 1a 3 1c 1 2 4 2 2 13 1 1v 6 2 2 2 2 c 1 8 1 1b 1 1f 1 1 3 2 2 5 2 1 1 16 2 8 1 6m 1 2 1 4 1 fn4 1 kh g g g r1 1
6a 1 45 5 1ae 3 1 2 5 4 14 3 4 1 4l 2 fx 4 ar 2 49 b 1d 4 3f 1 1i f 15 1 2 2 a 3 1d 4 2 2 7 1 1p 3 10 5 1 8 1q 1 c 2 1g 9 a 4 2 1 2n
3 2 1 1 2 6 1 4g 1 3 8 l 2 1l 2 3 1 11 7 3 5 5f 8 2 3 1 1 n 1 2c 6 1 1 4 2 1 2 6m 4 6 2 1 2 r 2 2d 8 2 1 1 2 2y 1 1 1 2 6 1 1 2t 3 2
4 1 5 77 9 1 2 74 2 1 1 4 1 40 4 2 2 4 1 w a 14 6 2 4 8 1 9 6 2 3 1a d 1 2 ba 7 1 6 1 1 2a m 2 7 1 2 1 2 3e 6 3 1 1 2 1 7 1 1 20 2 3
1 1 1 9n 2 f0b 5 1n 7 t4 1 1r 4 29 1 f5k 2 3mp 1a 2 n f4 3 h 8 2 7 u 4 44 3 1iz 1j 4 1e 8 1 e 1 m 5 1 f 11s 7 1 h 2 7 1 2 1 5 79 7
af 1 1p 4 15s 7 31 7 gzhx 6o
"""
"""General category Mn, and characters that fold to nothing else."""

DIGITS = """
1c a 17q a 3q a 5i a bg a 3a a 3a a 3a a 3a a 3a a 3a a 3a a 3a a 3a a 2o a 3a a 1y a 7q a 1y a 1fq a 12 a 8c a 3k a 4m a 6 a 52 a
2e a 3q a 6 a r7q a iu a 12 a 5i a m a 2e a ba a geu a 13a a 1om a mk a 3k a 1o a 40 a 7q a 9i a 3a a ae a 2u a 2u a bq a 2u a l2 a
6u a 1y a f5i a 2e a 3q a lf8 1e 1ts a bq a 192 a 3o6 a
"""
"""General category Nd."""

ALONES = """
2rl 1c 1 2 c 7 1m 2 1 1 1 5 1 o 1 1 1 a 1 2 9 1 2 5 1 1 l 4 80 17 k 1 g 6 4 4 3 1 3 2 7 3 4 d c 1 1dd 1g z 1 4 1 4rs 3 p 9 7 5
2 5 4 2e 6 3 1 2i 1 4 6o g e8 534 1s g74 1y8 5 1 a a 5 2p n 3 1 3 2 fi8 a6 2 2y wc 1m m6b 1 e 5 cmx 4 1 7 1 2 1 89 9 1 t 3 2 1 e 5
fiv wyo w 3dr 1 4ge 2 5rl f ha 1wi f2 15u 3t7 5 6ju
"""
"""Letters and letter numbers of Han, Hiragana, Katakana, Thai, Lao, Khmer and Myanmar (by script extensions)."""

SPACINGS = """
36z 2 4 1 6 1 2 2 p 2 a 3 2 7 l 2 2 6 2 1 a 3 1eh 1 7 8 1 2 sz6 1 1 1 1302 2
"""
"""General category Mc of these scripts."""

SERIES = """
1t q 11 2p 3j 6 10 2p 6 1 10 6e 1 2 12 2r 2 3 10 2t 3 4 10 2x 4 1 10 6o 1 2 11 32 2 4 10 33 5 1 10 6w 1 4 10 39 4 1 10 3d 1 1 10 72
2 6 10 2p 7 2 12 2r 2 3 10 2t 3 4 10 2x 5 2 11 32 2 4 10 33 6 4 10 39 4 2 20 3d 3 6 10 2p 6 8 10 2r 8 2 10 2s 2 1 10 7l 2 a 10 2t a
8 10 2v 8 2 10 2w 2 1 10 87 2 9 10 2x a 1 10 8j 2 2 10 2y 2 2 10 2z 3 6 10 30 6 2 22 8w 4 6 10 32 7 1 10 97 2 6 10 33 6 1 10 9f 2 6
10 36 6 8 10 37 8 4 10 38 4 1 10 9z 2 c 10 39 c 2 10 3b 2 3 10 3d 3 6 10 3e 8 1 10 gj 1 2 22 ar 4 1 10 gk 1 1 10 aw 2 2 11 gm 2 1 10
b0 3 1 10 d9 1 2 12 gp 2 1 10 b6 2 1 10 gw 1 1 10 gz 2 1 10 h5 1 1 10 h4 1 1 10 bd 4 1 10 hb 1 1 10 he 2 1 10 hh 1 2 10 33 2 2 22 bn
4 1 10 hs 1 1 10 bs 2 1 10 hv 3 1 10 bx 2 1 10 i0 1 2 10 39 2 2 11 i2 2 2 22 c4 4 1 10 ia 1 1 10 c9 4 1 10 cd 8 2 10 cm 3 2 10 cp 3
2 10 cs 3 2 10 2p 2 2 10 2x 2 2 10 33 2 a 10 39 b 4 10 2p 4 2 10 6e 2 1 10 dh 2 2 10 2v 2 2 10 2z 2 4 10 33 4 2 10 ia 2 1 10 2y 1 2
10 dv 3 2 10 2v 2 1 10 b9 1 1 10 cf 1 2 10 32 2 2 10 2p 2 2 10 6e 2 2 10 6w 2 4 10 2p 4 4 10 2t 4 4 10 2x 4 4 10 33 4 4 10 36 4 4 10
39 4 2 10 37 2 2 10 38 2 1 10 f1 2 2 10 2w 2 1 10 bi 2 2 22 f7 4 2 10 2p 2 2 10 2t 2 8 10 33 8 2 10 3d 8 1 10 8rp 1 1 10 fw 2 1 10
be 1 1 10 8rq 3 1 10 g2 2 1 10 ao 1 1 10 i1 1 1 10 i4 1 5 22 g7 8a 2 22 oh 4 1 10 jd 2 1 10 on 9 1 10 s3 6 1 10 4o 1 1 10 q9 1 1 10
53 1 3 12 qd 4 1 10 qn 2 1 10 qt 1 1 10 qx 1 1 10 qh 1 h 11 q9 i 7 11 qr 7 1 10 qh 1 1 10 qt 1 1 10 q9 1 3 12 qd 3 1 10 qt i 1 10 qr
8 1 10 qh 1 1 10 qt 1 1 10 qn 1 1 10 qt 1 1 10 qx 1 1 10 rb 4 2 10 r6 5 c 22 rd s 1 10 qg 3 1 10 s8 2 1 10 s2 1 1 10 sb 3 3 11 or 3
2 10 tx 2 1 10 uq 1 1 10 tv 1 3 11 us 3 2 12 uu 2 3 11 ux 3 1 10 u2 1 1 10 u0 1 1 10 ub 1 1 10 v3 1 9 11 ts 9 2 12 u0 2 l 11 u3 u 1
10 u0 n 2 10 tx 3 1 10 tv 4 1 10 uu 5 1 10 u2 1 1 10 u0 1 1 10 ub 2 b 22 v5 m 2 10 vp 2 5 22 vt i r 22 wb 1i 1 10 y7 1 2 10 ty 2 6
22 xw d 4 10 ts 4 1 10 yd 2 2 10 tx 2 2 20 yh 3 1 10 yh 1 2 10 ty 2 2 10 tz 2 1 10 yp 2 4 10 u0 4 2 10 u6 2 2 20 yx 3 1 10 yx 1 2 10
ul 2 6 10 ub 6 2 10 uf 2 1 10 zb 2 2 10 uj 2 r 22 zf 1j 12 11 129 6p 2 10 17r 2 1 10 18o 1 1 10 17r 1 1 10 18q 4a 1 10 1cl 2 1 10
1c1 h 1 10 1ci gm 1 10 1t4 8 1 10 1tc 3 1 10 1tf 10 3 11 1sl 3 1 10 1ss 1 2 11 1sx 2 1 10 1t7 1 1 10 1tb 3h 2 11 1wh 3 1 10 1wv 2c 1
10 20i 3 1 10 20o z 2 11 1zq 2 1 10 1zw 3 1 10 20b 6i 1 10 287 k 2 11 275 9w 1 10 2j9 7 2 11 2j9 3 1 10 2iq 7k 1 10 2qh a1 1 10 30i
a 1 10 30s 5 1 10 30x 5 1 10 312 5 1 10 317 d 1 10 30g 59 1 10 36t 3e 12 11 8w0 13 1 10 8x3 6 1 10 8x9 k3 28 11 xv4 28 6 11 3y0 1fv
2 20 5dh 8 1 10 5dh 99 17 11 3bk 19 3 11 3ct 8z 2 10 2p 2 6 10 2q 6 2 10 2r 2 a 10 2s a a 10 2t a 2 10 2u 2 2 10 2v 2 a 10 2w a 4 10
2x 4 6 10 2z 6 8 10 30 8 6 10 31 6 8 10 32 8 8 10 33 8 4 10 34 4 8 10 36 8 a 10 37 a 8 10 38 8 a 10 39 a 4 10 3a 4 a 10 3b a 4 10 3c
4 2 10 3d 2 6 10 3e 6 1 10 2w 1 1 10 38 1 2 12 3b 3 1 10 an 3 1 10 67 2 o 10 2p o g 10 2t g 4 10 2x 4 o 10 33 o e 10 39 e 8 10 3d 8
3 22 64b 6 g 10 q9 g 6 10 qd 8 6 10 qd 8 g 10 qf g g 10 qh g 6 10 qn 8 6 10 qn 8 8 10 qt 9 4 20 qt 7 g 10 qx g 2 10 q9 2 2 10 qd 2 2
10 qf 2 2 10 qh 2 2 10 qn 2 2 10 qt 2 2 10 qx 4 g 10 q9 g g 10 qf g g 10 qx g 5 10 q9 6 7 10 q9 8 1 10 qh 3 1 10 4o 1 3 10 qf 4 2 10
qf 2 2 10 qd 2 3 10 qf 3 3 10 69r 3 4 10 qh 6 6 10 qh 7 3 10 6bi 3 4 10 qt 4 2 10 qp 2 6 10 qt 6 1 10 qp 1 2 10 4o 5 3 10 qx 4 2 10
qx 2 2 10 qn 2 3 10 qx 8c 1 10 qx 4 1 10 2z 1 1 10 2p 7 1 10 6ku 1a g 11 6ls z 1 10 6mc n 2 12 6mo k 1 10 6ms v 1 10 6og 1 1 10 6ok
1 1 10 6oi 1h 1 10 6pv 5 1 10 6q0 3 1 10 6q3 o 2 22 6qr t 1 10 6rg 3 1 10 6rn 3 1 10 6rp 2 1 10 6rs p 1 10 6sh b 1 10 6rx 3 2 11 6sk
4 2 11 6sy 4 2 11 6t2 8 2 11 6t6 4 2 11 6te 4 2 11 6ti 10 1 10 6ua 1 2 11 6ug 2 1 10 6uj 1d 2 11 6t8 2 2 11 6tt 8 4 11 6uq cs q 11
79s 17q 1 10 8gt 84 1c 11 8q8 2o 1 10 8rl 2 1 10 h7 1 1 10 5tp 1 1 10 hp 3 3 22 8rs 6 1 10 gh 1 1 10 hd 1 2 12 gg 3 1 10 8s3 3 1 10
8s6 9 2 11 fz 2 1e 22 8sh 2z 2 22 8vg 7 1 10 8vn nu c 22 9jf p 3 22 9k4 b 2 10 9kf 3 2 10 9ki 3 2 10 9kl 3 2 10 9ko 3 2 10 9kr o 1
10 9ja a 1 10 9lp e c 22 9m3 p 3 22 9ms b 2 10 9n3 3 2 10 9n6 3 2 10 9n9 3 2 10 9nc 3 2 10 9nf o 1 10 9ly 3 4 11 9nz 7 1 10 9od n5u
n 22 wu9 1s e 22 ww1 4i 7 22 x0j g v 22 x0z 1z 2 22 x2y 4 1 10 5tl 1 5 22 x33 d 1 10 x3g 2 1 10 h1 3 2 22 x3l 6 a 22 x3r k 1 10 h2 1
1 10 gs 1 1 10 gx 1 1 10 h8 1 1 10 h6 2 1 10 im 1 1 10 hz 1 1 10 il 1 1 10 xub 1 8 22 x4l g 1 10 x3o 1 1 10 hu 1 1 10 5u6 1 2 22 x54
9 1 10 x5d 6 2 22 x5j v 1 10 x6e gfc 1 10 15l 2 1 10 16a b 4 10 161 4 3 10 15c 3 6 11 15d 7 5 11 15k 6 2 22 15q 3 2 22 15t 3 2 22
15w 3 4 11 15z 4 1 10 15h 1 1 10 15d 1 1 10 15n 1 1 10 15w r7 q 11 1ef5 yn 14 11 1fe0 4w 10 11 1fiw 5c b 11 1fo7 c f 11 1foj g 7 11
1foz 8 2 11 1fp7 1d8 1f 11 1h34 t6 2 22 1huh h 1 10 1hut sw 1 10 1int rp w 11 1jgg gww w 11 20dc o8w y 11 2oma
"""
"""Lower case, then canonical decomposition without Mn, where one other character is left. Fours: how far the first
character is from that of the row before, how many, (step, step of what they fold to), what the first folds to."""

COMPATIBLE = """
1d6o 7i 2 1 1 1 2 a 1 1 1 1 2 2 3 1w 2 2y 2skm f2
"""
"""CJK compatibility ideographs."""

COMPATIBLE_TARGETS = """
rpk kc4 s7e rt4 lw1 fg2 gkl vj0 vj0 hn5 ssx gw7 hmw jcm ne1 p6t qin qt6 r20 sjz kxu ljv mah mvy q4d sq2 uep fia ghh l50 mjf qi5 v8e
ifk m3v qfh r50 jih pnc qvz iq2 kd3 lm2 mpo slq fpi g53 gda jwk l3n mj4 nhj pa9 qh2 qjg s1b tv6 upb v7e nt8 nzz otc q15 t1g vb3 rfa
hjz iro okg pdq mle nuy rsy ttj hjs i8y kyb lp6 lxr oq7 oxj tor gcy pe3 g64 g5o o4c ou6 q29 tpx rk0 jin kxu rge fg9 i5j iz6 mtj n74
gev nwb fr3 iw9 ff1 lho k1k opu gjn hge ni9 q4p re2 la2 sds lfs jjy put jog n6t fji g2x g5l kn5 oo7 prj rf6 ssv gdx gn6 ho3 ir0 k3p
m4e nxm tkd ui2 vbr vda gbf kau l87 sbm ino j9s jcw jve lyb mdl n0p o22 ovo pdb s9y q9a sgz t3e g7r gbn gql ma0 r0i re2 iq1 iyd jnf
l9q oji mt1 fl0 h6h i5j iii izg muq mzt p7e pc6 svo tti tvs u1k fpn o1a ss4 trs j4x fie fyy i5q i7z k2h kxu mha ncy q9o sjg vil k94
tny gax kfv kj7 lkx luk mx5 n6h nsb opc u3i g31 je6 tq0 fu3 ie1 lpm sa2 ivf j7o kk7 mtj tqe g89 glr i91 k5v kem ko8 lid mx2 naa p6h
r0v r1d sss tsy gfz lve gm5 mhc n14 qgq tr7 uvr vbz kgn lor pns o97 obk olu mo0 m8p riw fk0 px2 g8q g7b ip2 jir onq i2t ljy kac saj
qx8 tot r63 iqb g1s gxs hga k8k g66 mqy ngq ny4 nz2 nz9 o0f tw6 on2 p8d qhe rg8 shk sn1 u7j u7w u94 v5g sm6 trr fqm fzb g25 gcp gdg
ggh gwt gzq h2g hfk hig i90 i9a j2s j8o j9q jci k0f k4i k9d kn9 lmf lqy lya mem mjv mxu ntd ny6 nyh nyg nyo nyu nz1 o0d o0e o5c o75
og0 ovo ow9 oxt p6a pad pnx prt prt q53 r2o r6e rgh ri1 rtf ruw sdy shk tsz u0v u2j j1x 36cu pp4 ffq g51 g2w fpc g1x g3k gcn ge2 gwt
gut gwp gyq hga hir hms hn8 huq i08 iqa iqh iuh iwd j4o j7y j60 j9q j8g jci jec jpg jrw jte k0m k8k kd3 kd7 keu l89 la2 lkx lwb lvv
lya m5a mem nmv mk5 mnj mqy n01 n46 n5n nbx nbz ngq nh7 nhw nka nk0 nv0 o8h og0 ol7 orf ovo p4u pad pxu q27 qrd r41 r5y r6e ren rg8
rez rgh rge rfx ri1 rka ruw sag sj6 srd sxi tq4 tsz tw6 tzv u0v u17 u2j umq vj0 313e 3138 33dh brx cns cop 39e1 3bgw 3i6r vgj vim
fgd fg8 fgh 2tcy fog fqm fqz fsy fwa fx5 fzb fyn ae6 2ud6 g25 g2c g2s g3b 2u58 aex g2v g3x 2u6j g47 g4k fkc g4s g51 3ly7 g6t g77 afz
g8r g92 gaa gaf ahh gcn gcp gdg ge2 ged gee gev gg9 ggh ggq ghf ghp ghr ghr ghr 2v58 m7k gju gkf 2vdv gkr gkx gli gpq gmw gnc go8
gpu gs6 gsw gur gv7 gw4 gw4 gwp gx7 gxf gxu h7a gzq h7b h1t h2s g7b hke hce hdg he5 haj hf6 hf5 hik 2x9g hki hkn hl2 hlm hlu hnm
2xm0 2xnu hrg hsr ht3 hqw huu aum av0 hzc i0u i0u 2y88 i4j i54 i5j i5v 2yhk i67 i6e itv i76 ayp i8w i9a ibk ia5 2z1g if7 2z1i ige
igb igs ijl ijm b3j ikd ilk im5 ind b4y 2zr7 b5o ipc ipf ipi iq2 3pg2 iri 3035 3035 poh isi isi b7r 335k 3cgq iua iuj b8j ivu ix9
ixj iyh j29 bay ba4 j2s 30t0 j47 j7s j7w j7y j7w j96 j9q jaq jac jan jby jci jcm jdc jdn jfh jht jis jm8 31n0 jlp jjw jmw jnn jqc
31td js2 jph jop bhq ju1 jum jvh juf bjg k0f k18 32mi k4j kc8 k7d bo9 k9d bns bms g42 g45 kcg k9o pf1 deh kd3 kd7 kdd kf2 ker 33cz
bpl kje kg5 klu kn9 33hp kni kkf kr8 brx ksi kv7 kx6 l2g 33xf l3v bvc l5t 34br l78 bwu l82 l9b la2 la3 34p9 2yvf 34sa le6 354s lhb
lhp lev ljq lku lmf lkx lm1 lmg lmt 357i lkk lrj lta c37 lvv lvr 35jl lq1 m0e 35ni 35ou m2u m61 m5a m57 c5y m6i m7x m7r m99 2u5h mdh
368z mfw 36i3 mjs mk5 mkw 36yw mm8 mmt 3779 37dg mt6 mtn cdo mud ce0 ce0 myv mzg n01 n0l n2i cgr n50 386u n5q 389e n74 2zrz nbk 38v5
38vs 38zo cn0 cnc nhw 394j 394i 395l 396b nj2 nj3 nj3 nka cop nm3 cp2 cra 39r1 nri nt8 nv0 ctf 3a5i nyu 3a8q 3a9x o0f o2z cvj o5c
o5m o5r 3at8 3b1j 3b1j oa6 d1e 3b8r og6 og9 d2f 3beo onm d5s oo8 oo3 oow 3c06 orn d8h ouf ow2 oxx d9w 3ciw 3cjr dax 3cnt p6i 3cqm
p79 pa2 pad 3d22 3d43 pcw 3d7s pdc 33a7 ded pf6 phf dfv pj2 hx1 3dlz 3dmd 33bn 33bw poh pok sda dij psh psb pst gc3 ptd ptf ptp puu
3ebg put pwd pyb q0d pwj q0t q1z q53 pxv q16 q18 q1o 3eie 3eqz 3emt dnv q9d q9f qae 3g0a qck 3f3g dp9 dpd 3f75 3ff6 dpn qj4 qjg qjr
qjt qll qko qoe qn6 qrd qp4 qqz qrq dsn qu9 qv5 dtl qxs qxv 3giv r13 r1a dv9 r22 aez 3gz2 3h46 dz2 dzb rds rfx rka rpx 3hrc rsb rsx
rvf rxz 3i9b 2upw s0b rzw s1c 2uvy s7o sag 3jki 3jl9 sk4 smp snl 3ju6 snv svs t07 t08 sxo t89 t91 3ksa tjf ej9 tkn 3l2v eli ts3 iia
tur 3ltx 3lzu epa epi u00 3mdm er6 3mhi u17 u17 u21 3mpi u76 eur u95 ucn ude uf2 ez2 3nsg umq uv4 v0d f66 f71 v3b 3owe f7c 3oxx 3p5a
3p8x vcr f9y veh vem vet vf3 vfa vgb 3pxc
"""
"""What they fold to, in order."""

PARTS = """
1xn 1xj 1xa 0 1 1xj 1xz 0 an 287 27y 0 1 287 28n 0 20 2aa 2c7 0 1i 2bq 2bi 0 1 2br 2bi 0 1 2bq 2c7 0 73 2iq 2j9 0 3j 2me 2m6 0 1 2mf
2m6 0 1 2me 2mv 0 40 2qh 2q7 0 1 2qh 2q7 0 1 2qh 2qn 0 2lk 5c5 5dh 0 2 5c7 5dh 0 2 5c9 5dh 0 2 5cb 5dh 0 2 5cd 5dh 0 4 5ch 5dh 0 1a
5dq 5dh 0 1 5dr 5dh 0 1czu 1idj 1ida 0 1 1idj 1idz 0 a8 1int 1ink 0 2 1int 1inx 0 70 1iuw 1iun 0 1 1iux 1iun 0 ot 1jjp 1jjk 0 10di
2jx3 2jxh 0 1 2jx4 2jxh 0 1 2jx4 2jxh 2jxq 1 2jx4 2jxh 2jxr 1 2jx4 2jxh 2jxs 1 2jx4 2jxh 2jxt 1 2jx4 2jxh 2jxu 2f 2jzt 2jxh 0 1 2jzu
2jxh 0 1 2jzt 2jxh 2jxq 1 2jzu 2jxh 2jxq 1 2jzt 2jxh 2jxr 1 2jzu 2jxh 2jxr
"""
"""Characters that decompose to two or three that are not Mn. Fours: distance from the row before, then the parts."""


def _numbers(packed: str) -> np.ndarray:
    return np.array([int(number, 36) for number in packed.split()], dtype=np.int64)


def _runs(packed: str) -> np.ndarray:
    """Every code point in the runs of one of the constants below."""
    edges = np.cumsum(_numbers(packed)).reshape(-1, 2)
    return np.concatenate([np.arange(first, end) for first, end in edges])


def _series() -> tuple[np.ndarray, np.ndarray]:
    """Characters and what they fold to, from SERIES."""
    rows = _numbers(SERIES).reshape(-1, 4)
    firsts = np.cumsum(rows[:, 0])
    characters, targets = [], []
    for first, (_, count, steps, target) in zip(firsts, rows, strict=True):
        step, target_step = divmod(int(steps), 36)
        characters.append(first + step * np.arange(count))
        targets.append(target + target_step * np.arange(count))
    return np.concatenate(characters), np.concatenate(targets)


@cache
def fold_tables() -> FoldTables:
    """The tables, built once per process (some milliseconds)."""
    folds = np.arange(0x110000, dtype=np.uint32)
    characters, targets = _series()
    folds[characters] = targets
    folds[_runs(COMPATIBLE)] = _numbers(COMPATIBLE_TARGETS)
    kinds = np.full(0x110000, WORD, dtype=np.uint32)
    for packed, kind in ((BREAKS, BREAK), (DIGITS, DIGIT), (MARKS, MARK), (ALONES, ALONE), (SPACINGS, SPACING)):
        kinds[_runs(packed)] = kind
    kinds[_HANGUL_FIRST:_HANGUL_END] = HANGUL
    folds[_runs(DIGITS)] = ord("0")
    rows = _numbers(PARTS).reshape(-1, 1 + N_PARTS)
    split = np.cumsum(rows[:, 0])
    kinds[split], folds[split] = SEVERAL, np.arange(len(rows))
    folds |= kinds << np.uint32(KIND_SHIFT)
    parts = rows[:, 1:].astype(np.uint32)
    folds.flags.writeable = parts.flags.writeable = False
    return FoldTables(folds, parts)
