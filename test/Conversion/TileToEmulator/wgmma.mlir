// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-emulator | FileCheck %s

// Sums stay in one slot, from the zeros to what is read; A in registers has a slot of its own.
// CHECK-LABEL: llvm.func @products(
llvm.func @products(%a: i64, %b: i64) attributes {tile.kernel, tile.shared_bytes = 4096 : i64} {
  // CHECK: %[[WORDS:.*]] = llvm.alloca %{{.*}} x vector<4xi32> {alignment = 16 : i64}
  // CHECK: %[[SUMS:.*]] = llvm.alloca %{{.*}} x vector<8xf32> {alignment = 16 : i64}
  // CHECK: %[[VARIABLE:.*]] = llvm.mlir.addressof @mohd_emulator
  // CHECK: %[[TABLE:.*]] = llvm.load %[[VARIABLE]]
  %row = tile.shared[0]
  %words = tile.load %row : !llvm.ptr<3> -> vector<4xi32>
  // CHECK: %[[MORE:.*]] = llvm.icmp "ugt" %[[A:.*]], %[[B:.*]] : i64
  %more = llvm.icmp "ugt" %a, %b : i64
  // CHECK: %[[BYTES:.*]] = llvm.mlir.constant(32 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][21] :
  // CHECK: llvm.call %{{.*}}(%[[SUMS]], %[[BYTES]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, i32, !llvm.ptr) -> ()
  // CHECK: %[[ZERO:.*]] = llvm.mlir.zero : vector<8xf32>
  // CHECK: llvm.store %[[ZERO]], %[[SUMS]]
  %0 = tile.wgmma_init : !tile.sums<64x16>
  // CHECK: llvm.getelementptr %[[TABLE]][18] :
  // CHECK: llvm.call %{{.*}}(%{{.*}}) : !llvm.ptr, (!llvm.ptr) -> ()
  tile.wgmma_fence
  // CHECK: %[[NULL:.*]] = llvm.mlir.zero : !llvm.ptr
  // CHECK: %[[FLAG:.*]] = llvm.zext %[[MORE]] : i1 to i32
  // CHECK: %[[BF16:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: %[[N:.*]] = llvm.mlir.constant(16 : i32)
  // CHECK: %[[A_IS_TRANSPOSED:.*]] = llvm.mlir.constant(1 : i32)
  // CHECK: %[[B_IS_NOT:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][17] :
  // CHECK: llvm.call %{{.*}}(%[[BF16]], %[[N]], %[[A]], %[[NULL]], %[[B]], %[[A_IS_TRANSPOSED]], %[[B_IS_NOT]], %[[FLAG]], %[[SUMS]], %{{.*}}) : !llvm.ptr, (i32, i32, i64, !llvm.ptr, i64, i32, i32, i32, !llvm.ptr, !llvm.ptr) -> ()
  %1 = tile.wgmma bf16 %a transposed, %b, %0 accumulates %more : i64, !tile.sums<64x16>
  // CHECK: llvm.store %{{.*}}, %[[WORDS]]
  // CHECK: %[[NO_DESCRIPTOR:.*]] = llvm.mlir.constant(0 : i64) : i64
  // CHECK: llvm.getelementptr %[[TABLE]][17] :
  // CHECK: llvm.call %{{.*}}(%{{.*}}, %{{.*}}, %[[NO_DESCRIPTOR]], %[[WORDS]], %[[B]], %{{.*}}, %{{.*}}, %{{.*}}, %[[SUMS]], %{{.*}}) : !llvm.ptr, (i32, i32, i64, !llvm.ptr, i64, i32, i32, i32, !llvm.ptr, !llvm.ptr) -> ()
  %2 = tile.wgmma f16 %words, %b transposed, %1 accumulates %more : vector<4xi32>, !tile.sums<64x16>
  // CHECK: llvm.getelementptr %[[TABLE]][19] :
  // CHECK: llvm.call %{{.*}}(%{{.*}}) : !llvm.ptr, (!llvm.ptr) -> ()
  tile.wgmma_commit
  // CHECK: %[[PENDING:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][20] :
  // CHECK: llvm.call %{{.*}}(%[[PENDING]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr) -> ()
  %3 = tile.wgmma_wait 0, %2 : !tile.sums<64x16>
  // CHECK: %[[PLACE:.*]] = llvm.getelementptr %[[SUMS]][7] : (!llvm.ptr) -> !llvm.ptr, f32
  // CHECK: %[[BYTES_READ:.*]] = llvm.mlir.constant(4 : i32)
  // CHECK: llvm.getelementptr %[[TABLE]][21] :
  // CHECK: llvm.call %{{.*}}(%[[PLACE]], %[[BYTES_READ]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, i32, !llvm.ptr) -> ()
  // CHECK: llvm.load %[[PLACE]] : !llvm.ptr -> f32
  %4 = tile.wgmma_read %3[7] : !tile.sums<64x16>
  llvm.return
}

// A descriptor has the lower 18 bits of the host's pointer.
// CHECK-LABEL: llvm.func @descriptor(
llvm.func @descriptor() attributes {tile.kernel, tile.shared_bytes = 4096 : i64} {
  %shared = tile.shared[1024]
  // CHECK: %[[POINTER:.*]] = llvm.ptrtoint %{{.*}} : !llvm.ptr to i64
  // CHECK: %[[MASK:.*]] = llvm.mlir.constant(262143 : i64)
  // CHECK: llvm.and %[[POINTER]], %[[MASK]]
  %0 = tile.matrix_descriptor %shared swizzle_32 leading 16 stride 256
  llvm.return
}

// The argument of a block is the slot's address.
// CHECK-LABEL: llvm.func @loop(
llvm.func @loop(%b: i64, %n: i32) attributes {tile.kernel} {
  %true = llvm.mlir.constant(true) : i1
  %0 = tile.wgmma_init : !tile.sums<64x8>
  // CHECK: cf.br ^bb1(%{{.*}} : !llvm.ptr)
  cf.br ^loop(%0 : !tile.sums<64x8>)
// CHECK: ^bb1(%[[SUMS:.*]]: !llvm.ptr):
^loop(%sums: !tile.sums<64x8>):
  %1 = tile.wgmma bf16 %b, %b, %sums accumulates %true : i64, !tile.sums<64x8>
  // CHECK: cf.cond_br %{{.*}}, ^bb1(%[[SUMS]] : !llvm.ptr), ^bb2
  %more = llvm.icmp "eq" %n, %n : i32
  cf.cond_br %more, ^loop(%1 : !tile.sums<64x8>), ^end
^end:
  llvm.return
}
