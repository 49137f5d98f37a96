"""Square roots of sixteen float32 at once, where the CPU's own take as long as two of eight each (AVX-512)."""

from __future__ import annotations

SQRT = """\
define internal <16 x float> @bl.sqrt.v16f32(<16 x float> %number) alwaysinline nounwind memory(none) {
  %small = fcmp olt <16 x float> %number, splat (float 0x3B00000000000000)
  %more = fmul <16 x float> %number, splat (float 0x43F0000000000000)
  %x = select <16 x i1> %small, <16 x float> %more, <16 x float> %number
  %y = call <16 x float> @llvm.x86.avx512.rsqrt14.ps.512(<16 x float> %x, <16 x float> zeroinitializer, i16 -1)
  %s = fmul <16 x float> %x, %y
  %h = fmul <16 x float> %y, splat (float 0x3FE0000000000000)
  %ns = fneg <16 x float> %s
  %e = call <16 x float> @llvm.fma.v16f32(<16 x float> %ns, <16 x float> %s, <16 x float> %x)
  %t = call <16 x float> @llvm.fma.v16f32(<16 x float> %e, <16 x float> %h, <16 x float> %s)
  %nt = fneg <16 x float> %t
  %d = call <16 x float> @llvm.fma.v16f32(<16 x float> %nt, <16 x float> %t, <16 x float> %x)
  %u = call <16 x float> @llvm.fma.v16f32(<16 x float> %d, <16 x float> %h, <16 x float> %t)
  %less = fmul <16 x float> %u, splat (float 0x3DF0000000000000)
  %root = select <16 x i1> %small, <16 x float> %less, <16 x float> %u
  %zero = fcmp oeq <16 x float> %number, zeroinitializer
  %high = fcmp oeq <16 x float> %number, splat (float 0x7FF0000000000000)
  %edge = or <16 x i1> %zero, %high
  %found = select <16 x i1> %edge, <16 x float> %number, <16 x float> %root
  ret <16 x float> %found
}
"""
"""An estimate y of 1/√x to 14 bits, and two of Newton's steps on s = x·y: s + (x - s²)·y/2, where x - s² is rounded
once. Numbers below 2^-79 are taken 2^64 times, lest x - s² be lost. The result is √x as it would be rounded, but for
one number in some 100,000, where it is the one beside.
"""
DECLARES = frozenset(
    [
        "declare <16 x float> @llvm.x86.avx512.rsqrt14.ps.512(<16 x float>, <16 x float>, i16)",
        "declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)",
    ]
)
