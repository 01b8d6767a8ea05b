"""Random numbers that are a pure function of a key and a counter, the same bits on every machine.

A number is the finalizer of SplitMix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators",
2014, with Stafford's constants "Mix13") over ``key + counter * golden ratio``, so the n-th number of a stream
costs the same whether or not the ones before it are made. Everything derived from it uses integers and the
operations that IEEE 754 rounds exactly (+ - * / sqrt rint floor), one at a time: no ``exp`` of a maths library,
whose last bit differs between processors, and no sum whose order numpy may choose.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["bits", "exp", "key_of", "normal", "smooth", "standard", "uniform"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bits = NDArray[np.uint64]

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST: Final = np.uint64(31)
_LANES: Final = np.uint64(0x0000FFFF0000FFFF)
_LOW: Final = np.uint64(0xFFFFFFFF)
_16, _32, _11 = np.uint64(16), np.uint64(32), np.uint64(11)
#: The standard deviation of the sum of four independent integers, uniform in 0 … 65535.
_SUM_OF_FOUR: Final = 37837.22723720648
_LN2_HIGH, _LN2_LOW, _PER_LN2 = 0.6931471803691238, 1.9082149292705877e-10, 1.4426950408889634
#: 1/n! for n = 11 … 0: the series of exp, which on |x| < ln(2)/2 leaves a relative error under 1e-14.
_SERIES: Final = tuple(1 / f for f in (39916800, 3628800, 362880, 40320, 5040, 720, 120, 24, 6, 2, 1, 1))


def key_of(*parts: object) -> int:
    """The 64-bit key of a stream, told from others by the text of ``parts``."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def bits(key: int, counter: Integers) -> Bits:
    """64 random bits for each element of ``counter``, int64 of any shape."""
    x: Bits = counter.astype(np.uint64)
    x *= _GOLDEN
    x += np.uint64(key)
    for shift, factor in _MIX:
        x ^= x >> shift
        x *= factor
    x ^= x >> _LAST
    return x


def uniform(random: Bits) -> Floats:
    """Random bits as floats, uniform in [0, 1): the upper 53 bits."""
    return (random >> _11).astype(np.float64) * 2.0**-53


def standard(random: Bits) -> Floats:
    """Random bits as floats of mean 0 and variance 1 that are nearly normal; none is beyond 3.47.

    The sum of four uniform 16-bit numbers (Irwin & Hall). Its thin tails are no harm: the tails of returns come
    from volatility that is itself random.
    """
    lanes = random & _LANES
    lanes += (random >> _16) & _LANES
    total = lanes & _LOW
    total += lanes >> _32
    values = total.astype(np.float64)
    values -= 131_070.0
    values *= 1 / _SUM_OF_FOUR
    return values


def normal(key: int, counter: Integers) -> Floats:
    """:func:`standard` numbers of a stream."""
    return standard(bits(key, counter))


def smooth(key: int, scale: int, first: int, count: int) -> Floats:
    """Noise of variance about 2/3 that wanders over ``scale`` steps, at ``first, first + 1, …``; shape (count,).

    Standard numbers at every multiple of ``scale`` with straight lines between them; ``first`` and ``count``
    must be multiples of it too.
    """
    nodes = normal(key, np.arange(first // scale, (first + count) // scale + 1, dtype=np.int64))
    share = np.arange(scale) / scale
    return (nodes[:-1, None] + (nodes[1:] - nodes[:-1])[:, None] * share).reshape(-1)


def exp(x: Floats) -> Floats:
    """e to the power of ``x``, for \\|x\\| < 700, to 14 digits and to the same bits everywhere."""
    powers = np.rint(x * _PER_LN2)
    rest = x - powers * _LN2_HIGH
    rest -= powers * _LN2_LOW
    value = np.full_like(rest, _SERIES[0])
    for term in _SERIES[1:]:
        value *= rest
        value += term
    return np.ldexp(value, powers.astype(np.int32))
