"""What few x86 CPUs can do with float16: the conversions, under the names by which LLVM calls them where it must."""

from __future__ import annotations

CONVERSIONS = """\
define float @__extendhfsf2(half %x) noinline nounwind memory(none) {
  %short = bitcast half %x to i16
  %bits = zext i16 %short to i32
  %sign = shl i32 %bits, 16
  %top = and i32 %sign, -2147483648
  %size = and i32 %bits, 32767
  %moved = shl i32 %size, 13
  %scaled = bitcast i32 %moved to float
  %number = fmul float %scaled, 0x46F0000000000000
  %usual = bitcast float %number to i32
  %endless = or i32 %moved, 2139095040
  %is.usual = icmp ult i32 %size, 31744
  %chosen = select i1 %is.usual, i32 %usual, i32 %endless
  %found = or i32 %chosen, %top
  %y = bitcast i32 %found to float
  ret float %y
}

define half @__truncsfhf2(float %x) noinline nounwind memory(none) {
  %bits = bitcast float %x to i32
  %shifted = lshr i32 %bits, 16
  %top = and i32 %shifted, 32768
  %size = and i32 %bits, 2147483647
  %even = lshr i32 %size, 13
  %odd = and i32 %even, 1
  %base = add i32 %size, -939520001
  %rounded = add i32 %base, %odd
  %usual = lshr i32 %rounded, 13
  %positive = bitcast i32 %size to float
  %aligned = fadd float %positive, 5.000000e-01
  %low = bitcast float %aligned to i32
  %tiny = add i32 %low, -1056964608
  %payload = and i32 %even, 1023
  %nan = or i32 %payload, 32256
  %is.nan = icmp ugt i32 %size, 2139095040
  %endless = select i1 %is.nan, i32 %nan, i32 31744
  %is.tiny = icmp ult i32 %size, 947912704
  %is.endless = icmp uge i32 %size, 1199570944
  %small = select i1 %is.tiny, i32 %tiny, i32 %usual
  %chosen = select i1 %is.endless, i32 %endless, i32 %small
  %found = or i32 %chosen, %top
  %short = trunc i32 %found to i16
  %y = bitcast i16 %short to half
  ret half %y
}

define half @__truncdfhf2(double %x) noinline nounwind memory(none) {
  %near = fptrunc double %x to float
  %back = fpext float %near to double
  %size = call double @llvm.fabs.f64(double %x)
  %other = call double @llvm.fabs.f64(double %back)
  %above = fcmp ogt double %other, %size
  %inexact = fcmp one double %other, %size
  %bits = bitcast float %near to i32
  %less = sext i1 %above to i32
  %toward = add i32 %bits, %less
  %last = zext i1 %inexact to i32
  %odd = or i32 %toward, %last
  %single = bitcast i32 %odd to float
  %y = call half @__truncsfhf2(float %single)
  ret half %y
}
"""
"""To float32: the bits of a float16 as those of a float32, times 2^112, which makes subnormal numbers normal. From it:
rounded to even by adding to the bits, and below 2^-14 by adding ½, whose last place is that of the result. From
float64: by way of a float32 whose last bit tells that something was cut off, so that nothing is rounded twice.
"""
DECLARES = frozenset(["declare double @llvm.fabs.f64(double)"])
