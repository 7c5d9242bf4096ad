"""Reading memory by address, and machine instructions that numba has no name for.

A numba kernel counts a reference whenever it hands an array to an inner function, and tests every index for being
negative. Called once a word, that cost three quarters of the time. An address is a plain integer: the caller keeps the
array alive, and keeps indices within it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.errors import TypingError
from numba.extending import intrinsic


@intrinsic
def address(typingctx: Any, array: Any) -> Any:
    """Where the items of a contiguous array begin, as int64."""
    if not isinstance(array, types.Array) or array.layout != "C":
        raise TypingError(f"an address needs a C-contiguous array, not {array}")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        items = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(items, ir.IntType(64))

    return types.int64(array), generate


def _load(builder: Any, start: Any, offset: Any, bits: int) -> Any:
    place = builder.inttoptr(builder.add(start, offset), ir.IntType(bits).as_pointer())
    return builder.load(place, align=1)


@intrinsic
def load8(typingctx: Any, start: Any, offset: Any) -> Any:
    """The byte ``offset`` bytes from the address ``start``, as int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(_load(builder, args[0], args[1], 8), ir.IntType(64))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def load32(typingctx: Any, start: Any, offset: Any) -> Any:
    """The four bytes ``offset`` bytes from the address ``start``, the first lowest, as int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(_load(builder, args[0], args[1], 32), ir.IntType(64))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def load64(typingctx: Any, start: Any, offset: Any) -> Any:
    """The eight bytes ``offset`` bytes from the address ``start``, the first lowest, as uint64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _load(builder, args[0], args[1], 64)

    return types.uint64(types.int64, types.int64), generate


@intrinsic
def trailing_zeros(typingctx: Any, word: Any) -> Any:
    """How many low bits of a uint64 are zero, as int64; 64 for 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(0))

    return types.int64(types.uint64), generate


def _bytes64(builder: Any, start: Any, offset: Any) -> tuple[Any, Any]:
    """64 bytes as a vector, and a function giving the vector that repeats one byte."""
    vector = ir.VectorType(ir.IntType(8), 64)
    place = builder.inttoptr(builder.add(start, offset), vector.as_pointer())
    return builder.load(place, align=1), lambda byte: ir.Constant(vector, [ir.Constant(ir.IntType(8), byte)] * 64)


def _letter_lanes(builder: Any, lanes: Any, repeat: Any) -> Any:
    lowered = builder.or_(lanes, repeat(0x20))
    return builder.icmp_unsigned("<", builder.sub(lowered, repeat(ord("a"))), repeat(26))


@intrinsic
def letters64(typingctx: Any, start: Any, offset: Any) -> Any:
    """Which of the 64 bytes ``offset`` bytes from the address ``start`` are ASCII letters: a uint64, the first lowest."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes, repeat = _bytes64(builder, args[0], args[1])
        return builder.bitcast(_letter_lanes(builder, lanes, repeat), ir.IntType(64))

    return types.uint64(types.int64, types.int64), generate


@intrinsic
def word_bytes64(typingctx: Any, start: Any, offset: Any) -> Any:
    """As ``letters64``, and also those that are ASCII digits or beyond ASCII."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes, repeat = _bytes64(builder, args[0], args[1])
        digits = builder.icmp_unsigned("<", builder.sub(lanes, repeat(ord("0"))), repeat(10))
        beyond = builder.icmp_signed("<", lanes, repeat(0))
        found = builder.or_(_letter_lanes(builder, lanes, repeat), builder.or_(digits, beyond))
        return builder.bitcast(found, ir.IntType(64))

    return types.uint64(types.int64, types.int64), generate
