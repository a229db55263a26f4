// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-emulator | FileCheck %s

// A mask that is not given is all threads; f32 travel as words.
// CHECK-LABEL: llvm.func @within_a_warp(
llvm.func @within_a_warp(%x: f32, %word: i32, %mask: i32) attributes {tile.kernel} {
  // CHECK: %[[X:.*]] = llvm.load %{{.*}} : !llvm.ptr -> f32
  // CHECK: %[[WORD:.*]] = llvm.load %{{.*}} : !llvm.ptr -> i32
  // CHECK: %[[MASK:.*]] = llvm.load %{{.*}} : !llvm.ptr -> i32
  // CHECK: %[[VARIABLE:.*]] = llvm.mlir.addressof @mohd_emulator
  // CHECK: %[[TABLE:.*]] = llvm.load %[[VARIABLE]]
  // CHECK: %[[ALL:.*]] = llvm.mlir.constant(-1 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][6] :
  // CHECK: llvm.call %{{.*}}(%[[ALL]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr) -> ()
  tile.warp_sync
  // CHECK: %[[BITS:.*]] = llvm.bitcast %[[X]] : f32 to i32
  // CHECK: %[[BFLY:.*]] = llvm.mlir.constant(2 : i32)
  // CHECK: %[[CLAMP:.*]] = llvm.mlir.constant(31 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][7] :
  // CHECK: %[[OTHER:.*]] = llvm.call %{{.*}}(%[[BFLY]], %{{.*}}, %[[BITS]], %[[WORD]], %[[CLAMP]], %{{.*}}) : !llvm.ptr, (i32, i32, i32, i32, i32, !llvm.ptr) -> i32
  // CHECK: llvm.bitcast %[[OTHER]] : i32 to f32
  %0 = tile.shuffle bfly %x, %word width 32 : f32
  // CHECK: %[[UP:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: %[[CLAMP_OF_UP:.*]] = llvm.mlir.constant(6144 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][7] :
  // CHECK: llvm.call %{{.*}}(%[[UP]], %[[MASK]], %[[WORD]], %[[WORD]], %[[CLAMP_OF_UP]], %{{.*}}) : !llvm.ptr, (i32, i32, i32, i32, i32, !llvm.ptr) -> i32
  %1 = tile.shuffle up %word, %word width 8 mask %mask : i32
  // CHECK: %[[BIT:.*]] = llvm.icmp
  %bit = llvm.icmp "eq" %word, %mask : i32
  // CHECK: %[[PREDICATE:.*]] = llvm.zext %[[BIT]] : i1 to i32
  // CHECK: llvm.getelementptr %[[TABLE]][8] :
  // CHECK: llvm.call %{{.*}}(%[[MASK]], %[[PREDICATE]], %{{.*}}) : !llvm.ptr, (i32, i32, !llvm.ptr) -> i32
  %2 = tile.ballot %bit mask %mask
  // CHECK: llvm.getelementptr %[[TABLE]][9] :
  // CHECK: %[[CHOSEN:.*]] = llvm.call %{{.*}}(%{{.*}}, %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr) -> i32
  // CHECK: llvm.icmp "ne" %[[CHOSEN]], %{{.*}} : i32
  %3 = tile.elect
  llvm.return
}

// The two halves of a word are widened one by one.
// CHECK-LABEL: llvm.func @numbers(
llvm.func @numbers(%x: f32) attributes {tile.kernel} {
  // CHECK: %[[X:.*]] = llvm.load %{{.*}} : !llvm.ptr -> f32
  // CHECK: %[[VARIABLE:.*]] = llvm.mlir.addressof @mohd_emulator
  // CHECK: %[[TABLE:.*]] = llvm.load %[[VARIABLE]]
  // CHECK: llvm.getelementptr %[[TABLE]][31] :
  // CHECK: %[[Y:.*]] = llvm.call %{{.*}}(%[[X]]) : !llvm.ptr, (f32) -> f32
  %y = tile.exp2 %x
  // CHECK: %[[F16:.*]] = llvm.mlir.constant(1 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][32] :
  // CHECK: %[[PAIR:.*]] = llvm.call %{{.*}}(%[[F16]], %[[X]], %[[Y]]) : !llvm.ptr, (i32, f32, f32) -> i32
  %pair = tile.pack f16 %x, %y
  // CHECK: %[[LOW:.*]] = llvm.and %[[PAIR]], %{{.*}}
  // CHECK: %[[HIGH:.*]] = llvm.lshr %[[PAIR]], %{{.*}}
  // CHECK: llvm.getelementptr %[[TABLE]][33] :
  // CHECK: llvm.call %{{.*}}(%{{.*}}, %[[LOW]]) : !llvm.ptr, (i32, i32) -> f32
  // CHECK: llvm.getelementptr %[[TABLE]][33] :
  // CHECK: llvm.call %{{.*}}(%{{.*}}, %[[HIGH]]) : !llvm.ptr, (i32, i32) -> f32
  %low, %high = tile.unpack bf16 %pair
  // CHECK: llvm.getelementptr %[[TABLE]][34] :
  // CHECK: llvm.call %{{.*}}(%{{.*}}) : !llvm.ptr, (!llvm.ptr) -> ()
  tile.trap
  llvm.return
}
