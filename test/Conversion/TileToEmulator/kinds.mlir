// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --convert-tile-to-emulator | FileCheck %s

// Each kind of an op is a number for the emulator (operations.h); here are all of them.
// CHECK-LABEL: llvm.func @registers(
llvm.func @registers() attributes {tile.kernel} {
  // CHECK: %[[TID_X:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: llvm.call %{{.*}}(%[[TID_X]]) : !llvm.ptr, (i32) -> i32
  %0 = tile.special_register tid_x
  // CHECK: %[[TID_Y:.*]] = llvm.mlir.constant(1 : i32)
  // CHECK: llvm.call %{{.*}}(%[[TID_Y]]) : !llvm.ptr, (i32) -> i32
  %1 = tile.special_register tid_y
  // CHECK: %[[TID_Z:.*]] = llvm.mlir.constant(2 : i32)
  // CHECK: llvm.call %{{.*}}(%[[TID_Z]]) : !llvm.ptr, (i32) -> i32
  %2 = tile.special_register tid_z
  // CHECK: %[[NTID_X:.*]] = llvm.mlir.constant(3 : i32)
  // CHECK: llvm.call %{{.*}}(%[[NTID_X]]) : !llvm.ptr, (i32) -> i32
  %3 = tile.special_register ntid_x
  // CHECK: %[[NTID_Y:.*]] = llvm.mlir.constant(4 : i32)
  // CHECK: llvm.call %{{.*}}(%[[NTID_Y]]) : !llvm.ptr, (i32) -> i32
  %4 = tile.special_register ntid_y
  // CHECK: %[[NTID_Z:.*]] = llvm.mlir.constant(5 : i32)
  // CHECK: llvm.call %{{.*}}(%[[NTID_Z]]) : !llvm.ptr, (i32) -> i32
  %5 = tile.special_register ntid_z
  // CHECK: %[[CTAID_X:.*]] = llvm.mlir.constant(6 : i32)
  // CHECK: llvm.call %{{.*}}(%[[CTAID_X]]) : !llvm.ptr, (i32) -> i32
  %6 = tile.special_register ctaid_x
  // CHECK: %[[CTAID_Y:.*]] = llvm.mlir.constant(7 : i32)
  // CHECK: llvm.call %{{.*}}(%[[CTAID_Y]]) : !llvm.ptr, (i32) -> i32
  %7 = tile.special_register ctaid_y
  // CHECK: %[[CTAID_Z:.*]] = llvm.mlir.constant(8 : i32)
  // CHECK: llvm.call %{{.*}}(%[[CTAID_Z]]) : !llvm.ptr, (i32) -> i32
  %8 = tile.special_register ctaid_z
  // CHECK: %[[NCTAID_X:.*]] = llvm.mlir.constant(9 : i32)
  // CHECK: llvm.call %{{.*}}(%[[NCTAID_X]]) : !llvm.ptr, (i32) -> i32
  %9 = tile.special_register nctaid_x
  // CHECK: %[[NCTAID_Y:.*]] = llvm.mlir.constant(10 : i32)
  // CHECK: llvm.call %{{.*}}(%[[NCTAID_Y]]) : !llvm.ptr, (i32) -> i32
  %10 = tile.special_register nctaid_y
  // CHECK: %[[NCTAID_Z:.*]] = llvm.mlir.constant(11 : i32)
  // CHECK: llvm.call %{{.*}}(%[[NCTAID_Z]]) : !llvm.ptr, (i32) -> i32
  %11 = tile.special_register nctaid_z
  // CHECK: %[[LANE:.*]] = llvm.mlir.constant(12 : i32)
  // CHECK: llvm.call %{{.*}}(%[[LANE]]) : !llvm.ptr, (i32) -> i32
  %12 = tile.special_register lane
  llvm.return
}

// CHECK-LABEL: llvm.func @atomics(
llvm.func @atomics(%global: !llvm.ptr<1>, %one: i32) attributes {tile.kernel} {
  // CHECK: %[[ADD:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[3] :
  // CHECK: llvm.call %{{.*}}(%[[ADD]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr, i32, i32, !llvm.ptr) -> i32
  %0 = tile.atomic add %one, %global : !llvm.ptr<1>
  // CHECK: %[[MIN:.*]] = llvm.mlir.constant(1 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[3] :
  // CHECK: llvm.call %{{.*}}(%[[MIN]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr, i32, i32, !llvm.ptr) -> i32
  %1 = tile.atomic min %one, %global : !llvm.ptr<1>
  // CHECK: %[[MAX:.*]] = llvm.mlir.constant(2 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[3] :
  // CHECK: llvm.call %{{.*}}(%[[MAX]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr, i32, i32, !llvm.ptr) -> i32
  %2 = tile.atomic max %one, %global : !llvm.ptr<1>
  // CHECK: %[[AND:.*]] = llvm.mlir.constant(3 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[3] :
  // CHECK: llvm.call %{{.*}}(%[[AND]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr, i32, i32, !llvm.ptr) -> i32
  %3 = tile.atomic and %one, %global : !llvm.ptr<1>
  // CHECK: %[[OR:.*]] = llvm.mlir.constant(4 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[3] :
  // CHECK: llvm.call %{{.*}}(%[[OR]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr, i32, i32, !llvm.ptr) -> i32
  %4 = tile.atomic or %one, %global : !llvm.ptr<1>
  // CHECK: %[[EXCHANGE:.*]] = llvm.mlir.constant(5 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[3] :
  // CHECK: llvm.call %{{.*}}(%[[EXCHANGE]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr, i32, i32, !llvm.ptr) -> i32
  %5 = tile.atomic exchange %one, %global : !llvm.ptr<1>
  llvm.return
}

// The operand c of a shuffle is that of PTX: only upwards is it 0 for the whole warp.
// CHECK-LABEL: llvm.func @shuffles(
llvm.func @shuffles(%word: i32, %by: i32) attributes {tile.kernel} {
  // CHECK: %[[UP:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: %[[CLAMP_UP:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[7] :
  // CHECK: llvm.call %{{.*}}(%[[UP]], %{{.*}}, %{{.*}}, %{{.*}}, %[[CLAMP_UP]], %{{.*}}) : !llvm.ptr, (i32, i32, i32, i32, i32, !llvm.ptr) -> i32
  %0 = tile.shuffle up %word, %by width 32 : i32
  // CHECK: %[[DOWN:.*]] = llvm.mlir.constant(1 : i32)
  // CHECK: %[[CLAMP_DOWN:.*]] = llvm.mlir.constant(31 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[7] :
  // CHECK: llvm.call %{{.*}}(%[[DOWN]], %{{.*}}, %{{.*}}, %{{.*}}, %[[CLAMP_DOWN]], %{{.*}}) : !llvm.ptr, (i32, i32, i32, i32, i32, !llvm.ptr) -> i32
  %1 = tile.shuffle down %word, %by width 32 : i32
  // CHECK: %[[BFLY:.*]] = llvm.mlir.constant(2 : i32)
  // CHECK: %[[CLAMP_BFLY:.*]] = llvm.mlir.constant(31 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[7] :
  // CHECK: llvm.call %{{.*}}(%[[BFLY]], %{{.*}}, %{{.*}}, %{{.*}}, %[[CLAMP_BFLY]], %{{.*}}) : !llvm.ptr, (i32, i32, i32, i32, i32, !llvm.ptr) -> i32
  %2 = tile.shuffle bfly %word, %by width 32 : i32
  // CHECK: %[[IDX:.*]] = llvm.mlir.constant(3 : i32)
  // CHECK: %[[CLAMP_IDX:.*]] = llvm.mlir.constant(31 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[7] :
  // CHECK: llvm.call %{{.*}}(%[[IDX]], %{{.*}}, %{{.*}}, %{{.*}}, %[[CLAMP_IDX]], %{{.*}}) : !llvm.ptr, (i32, i32, i32, i32, i32, !llvm.ptr) -> i32
  %3 = tile.shuffle idx %word, %by width 32 : i32
  llvm.return
}

// CHECK-LABEL: llvm.func @fences(
llvm.func @fences() attributes {tile.kernel} {
  // CHECK: %[[BLOCK:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[10] :
  // CHECK: llvm.call %{{.*}}(%[[BLOCK]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr) -> ()
  tile.fence block
  // CHECK: %[[DEVICE:.*]] = llvm.mlir.constant(1 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[10] :
  // CHECK: llvm.call %{{.*}}(%[[DEVICE]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr) -> ()
  tile.fence device
  // CHECK: %[[PROXY_ASYNC:.*]] = llvm.mlir.constant(2 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[10] :
  // CHECK: llvm.call %{{.*}}(%[[PROXY_ASYNC]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr) -> ()
  tile.fence proxy_async
  // CHECK: %[[MBARRIER_INIT:.*]] = llvm.mlir.constant(3 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[10] :
  // CHECK: llvm.call %{{.*}}(%[[MBARRIER_INIT]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr) -> ()
  tile.fence mbarrier_init
  llvm.return
}

// CHECK-LABEL: llvm.func @products(
llvm.func @products() attributes {tile.kernel, tile.shared_bytes = 4096 : i64} {
  %row = tile.shared[0]
  %a = tile.load %row : !llvm.ptr<3> -> vector<4xi32>
  %b = tile.load %row : !llvm.ptr<3> -> vector<2xi32>
  %c = tile.load %row : !llvm.ptr<3> -> vector<4xf32>
  // CHECK: %[[BF16:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[16] :
  // CHECK: llvm.call %{{.*}}(%[[BF16]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr) -> ()
  %0 = tile.mma bf16 %a, %b, %c : vector<4xf32>
  // CHECK: %[[F16:.*]] = llvm.mlir.constant(1 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[16] :
  // CHECK: llvm.call %{{.*}}(%[[F16]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr) -> ()
  %1 = tile.mma f16 %a, %b, %c : vector<4xf32>
  // CHECK: %[[TF32:.*]] = llvm.mlir.constant(2 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[16] :
  // CHECK: llvm.call %{{.*}}(%[[TF32]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr) -> ()
  %2 = tile.mma tf32 %a, %b, %c : vector<4xf32>
  // CHECK: %[[S8:.*]] = llvm.mlir.constant(3 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[16] :
  // CHECK: llvm.call %{{.*}}(%[[S8]], %{{.*}}) : !llvm.ptr, (i32, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr) -> ()
  %3 = tile.mma s8 %a, %b, %a : vector<4xi32>
  llvm.return
}

// CHECK-LABEL: llvm.func @halves(
llvm.func @halves(%x: f32) attributes {tile.kernel} {
  // CHECK: %[[BF16:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[32] :
  // CHECK: %[[PAIR_BF16:.*]] = llvm.call %{{.*}}(%[[BF16]], %{{.*}}) : !llvm.ptr, (i32, f32, f32) -> i32
  %0 = tile.pack bf16 %x, %x
  // CHECK: %[[KIND_BF16:.*]] = llvm.mlir.constant(0 : i32)
  // CHECK: %[[LOW_BF16:.*]] = llvm.and %[[PAIR_BF16]]
  // CHECK: llvm.getelementptr %{{.*}}[33] :
  // CHECK: llvm.call %{{.*}}(%[[KIND_BF16]], %[[LOW_BF16]]) : !llvm.ptr, (i32, i32) -> f32
  %low0, %high0 = tile.unpack bf16 %0
  // CHECK: %[[F16:.*]] = llvm.mlir.constant(1 : i32)
  // CHECK: llvm.getelementptr %{{.*}}[32] :
  // CHECK: %[[PAIR_F16:.*]] = llvm.call %{{.*}}(%[[F16]], %{{.*}}) : !llvm.ptr, (i32, f32, f32) -> i32
  %1 = tile.pack f16 %x, %x
  // CHECK: %[[KIND_F16:.*]] = llvm.mlir.constant(1 : i32)
  // CHECK: %[[LOW_F16:.*]] = llvm.and %[[PAIR_F16]]
  // CHECK: llvm.getelementptr %{{.*}}[33] :
  // CHECK: llvm.call %{{.*}}(%[[KIND_F16]], %[[LOW_F16]]) : !llvm.ptr, (i32, i32) -> f32
  %low1, %high1 = tile.unpack f16 %1
  llvm.return
}
