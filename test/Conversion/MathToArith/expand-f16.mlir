// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-pipeline-lower=converts-f16=false | FileCheck %s --check-prefix=EXPANDED
// RUN: mohd-opt %s --mohd-pipeline-lower=converts-f16=false | mlir-runner --entry-point-result=i32 | FileCheck %s
// RUN: mohd-opt %s --mohd-pipeline-lower | FileCheck %s --check-prefix=NATIVE

// A target without instructions for f16 gets none to do. Every one of the 65536 values survives both ways (a NaN as a NaN), and f32 values
// around every rounding boundary become the nearer, or the even, neighbour. The result is the number of values that do not.
// EXPANDED-NOT: llvm.fp{{ext|trunc}}
// EXPANDED: llvm.func @main
// EXPANDED-NOT: llvm.fp{{ext|trunc}}
// NATIVE: llvm.fpext
// CHECK: {{^}}0{{$}}

// f16 (as bits) of f32 (as bits).
func.func private @narrow(%bits: i32) -> i16 {
  %x = arith.bitcast %bits : i32 to f32
  %half = arith.truncf %x : f32 to f16
  %result = arith.bitcast %half : f16 to i16
  return %result : i16
}

// f32 (as bits) of f16 (as bits).
func.func private @widen(%bits: i16) -> i32 {
  %half = arith.bitcast %bits : i16 to f16
  %x = arith.extf %half : f16 to f32
  %result = arith.bitcast %x : f32 to i32
  return %result : i32
}

// 1 if the two differ, else 0.
func.func private @differ(%got: i16, %want: i16) -> i32 {
  %different = arith.cmpi ne, %got, %want : i16
  %result = arith.extui %different : i1 to i32
  return %result : i32
}

func.func @main() -> i32 {
  %zero = arith.constant 0 : i32
  %one = arith.constant 1 : i32
  %one_half = arith.constant 1 : i16
  %count = arith.constant 65536 : i32
  %exponent = arith.constant 0x7C00 : i16
  %magnitude_mask = arith.constant 0x7FFF : i16
  %wrong = scf.for %i = %zero to %count step %one iter_args(%sum = %zero) -> i32 : i32 {
    %h = arith.trunci %i : i32 to i16
    %wide = func.call @widen(%h) : (i16) -> i32
    %back = func.call @narrow(%wide) : (i32) -> i16
    %magnitude = arith.andi %h, %magnitude_mask : i16
    %is_nan = arith.cmpi ugt, %magnitude, %exponent : i16
    %back_magnitude = arith.andi %back, %magnitude_mask : i16
    %back_is_nan = arith.cmpi ugt, %back_magnitude, %exponent : i16
    %lost_nan = arith.cmpi ne, %is_nan, %back_is_nan : i1
    %changed = arith.cmpi ne, %h, %back : i16
    %bad_value = arith.select %is_nan, %lost_nan, %changed : i1
    %bad = arith.extui %bad_value : i1 to i32
    %sum1 = arith.addi %sum, %bad : i32

    // The value half way to the next in magnitude, and its neighbours. Beyond the largest finite number the next is Inf at 2^16.
    %is_finite = arith.cmpi ult, %magnitude, %exponent : i16
    %sum4 = scf.if %is_finite -> i32 {
      %next = arith.addi %h, %one_half : i16
      %wide_next = func.call @widen(%next) : (i16) -> i32
      %largest = arith.constant 0x7BFF : i16
      %is_largest = arith.cmpi eq, %magnitude, %largest : i16
      %sign_mask = arith.constant 0x80000000 : i32
      %sign = arith.andi %wide, %sign_mask : i32
      %two_16 = arith.constant 0x47800000 : i32
      %limit = arith.ori %sign, %two_16 : i32
      %upper = arith.select %is_largest, %limit, %wide_next : i32
      %x = arith.bitcast %wide : i32 to f32
      %y = arith.bitcast %upper : i32 to f32
      %twice = arith.addf %x, %y : f32
      %half = arith.constant 0.5 : f32
      %middle = arith.mulf %twice, %half : f32
      %tie = arith.bitcast %middle : f32 to i32
      %below = arith.subi %tie, %one : i32
      %above = arith.addi %tie, %one : i32
      %odd_bit = arith.andi %h, %one_half : i16
      %even = arith.addi %h, %odd_bit : i16
      %of_below = func.call @narrow(%below) : (i32) -> i16
      %of_tie = func.call @narrow(%tie) : (i32) -> i16
      %of_above = func.call @narrow(%above) : (i32) -> i16
      %bad1 = func.call @differ(%of_below, %h) : (i16, i16) -> i32
      %bad2 = func.call @differ(%of_tie, %even) : (i16, i16) -> i32
      %bad3 = func.call @differ(%of_above, %next) : (i16, i16) -> i32
      %sum2 = arith.addi %sum1, %bad1 : i32
      %sum3 = arith.addi %sum2, %bad2 : i32
      %all = arith.addi %sum3, %bad3 : i32
      scf.yield %all : i32
    } else {
      scf.yield %sum1 : i32
    }
    scf.yield %sum4 : i32
  }
  return %wrong : i32
}
