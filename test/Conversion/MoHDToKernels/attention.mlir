// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-emit-kernels=lanes=8 --canonicalize --cse --split-input-file | FileCheck %s

// A task is a key head (two of them, so tasks are numbered head by head) with its two query heads for up to 32 tokens. Tokens of one sequence that follow each other
// are attended together: columns of tokens and heads are lanes, 16 to a panel, and walk the cache in blocks of 48 rows.
// CHECK-LABEL: func.func @attention(
// CHECK: %[[TOKENS:.*]] = tile.param %{{.*}}[0]
// CHECK: %[[KEYS:.*]] = tile.binding %{{.*}}[1]
// CHECK: %[[VALUES:.*]] = tile.binding %{{.*}}[2]
// CHECK: %[[SEQUENCES:.*]] = tile.binding %{{.*}}[4]
// CHECK: %[[QUERIES:.*]] = memref.alloca() {{.*}}: memref<4x16x16xf32>
// CHECK: memref.alloca() {{.*}}: memref<4x16xi32>
// CHECK: %[[KEY_BLOCK:.*]] = memref.alloca() {{.*}}: memref<48x16xf32>
// CHECK: %[[VALUE_BLOCK:.*]] = memref.alloca() {{.*}}: memref<48x16xf32>
// CHECK: %[[ROUNDED:.*]] = arith.addi %[[TOKENS]], %c31
// CHECK: %[[BLOCKS:.*]] = arith.divui %[[ROUNDED]], %c32
// CHECK: scf.for %[[TASK:.*]] = {{.*}} step %c1 {
// CHECK: %[[KV_HEAD:.*]] = arith.divui %[[TASK]], %[[BLOCKS]]
// CHECK: %[[COLUMN:.*]] = arith.muli %[[KV_HEAD]], %c16
// A run ends where the next token has another sequence.
// CHECK: scf.for %[[TOKEN:.*]] = {{.*}} iter_args(%[[FIRST:.*]] = {{.*}}) -> (index) {
// CHECK: %[[THIS:.*]] = memref.load %[[SEQUENCES]][%[[TOKEN]]]
// CHECK: %[[OTHER:.*]] = memref.load %[[SEQUENCES]]
// CHECK: arith.cmpi ne
// CHECK: arith.ori
// CHECK: scf.if
// CHECK: arith.cmpi uge, %{{.*}}, %c8
// CHECK: scf.if
// CHECK: vector.shuffle
// CHECK: vector.store %{{.*}}, %[[QUERIES]]
// CHECK: scf.for %[[ROW:.*]] = %c0 to %[[ROWS:.*]] step %c48 {
// CHECK: vector.load %[[KEYS]][%c0,
// CHECK: vector.store %{{.*}}, %[[KEY_BLOCK]]
// CHECK: vector.load %[[VALUES]][%c0,
// CHECK: vector.store %{{.*}}, %[[VALUE_BLOCK]]
// Six rows in registers; an element of a key serves all columns.
// CHECK: scf.for %{{.*}} step %c6 iter_args
// CHECK: scf.for %{{.*}} = %c0 to %c16 step %c1 iter_args
// CHECK: vector.load %[[QUERIES]]
// CHECK-COUNT-6: memref.load %[[KEY_BLOCK]]
// CHECK: arith.cmpi sge, {{.*}} : vector<16xi32>
// CHECK: arith.select {{.*}} : vector<16xi1>, vector<16xf32>
// CHECK: math.exp {{.*}} : vector<16xf32>
// Rows that every column sees need no choice; of the others a column takes what it sees.
// CHECK: scf.for %{{.*}} = %c0 to %[[WHOLE:.*]] step %c1 iter_args
// CHECK-COUNT-6: memref.load %[[VALUE_BLOCK]]
// CHECK-NOT: arith.select
// CHECK: scf.for %{{.*}} = %[[WHOLE]] to %{{.*}} step %c1 iter_args
// CHECK: arith.cmpi sge
// CHECK-COUNT-6: arith.select
// CHECK: arith.divf {{.*}} : vector<16xf32>
// CHECK: vector.shuffle
// CHECK: } else {
// A token alone: blocks of 32 rows, two heads and four rows in registers.
// CHECK: scf.for %[[ROW:.*]] = %c0 to %{{.*}} step %c32 {
// CHECK: scf.for %{{.*}} step %c4 {
// CHECK: scf.for %{{.*}} = %c0 to %c16 step %c8 iter_args
// CHECK: vector.load %[[KEYS]][%c0,
// CHECK-COUNT-8: vector.fma
// CHECK-NOT: vector.fma
// CHECK: scf.yield
// CHECK: math.exp {{.*}} : vector<8xf32>
// CHECK: vector.load %[[VALUES]][%c0,
// CHECK: return
func.func @attention(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %T = tile.param %params[0]
  %B = tile.param %params[1]
  %S = tile.param %params[2]
  %b0 = tile.binding %bindings[0] (%T) : memref<?x64xf32>
  %t0 = bufferization.to_tensor %b0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %b1 = tile.binding %bindings[1] (%B, %S) : memref<1x?x?x32xf32>
  %t1 = bufferization.to_tensor %b1 restrict : memref<1x?x?x32xf32> to tensor<1x?x?x32xf32>
  %b2 = tile.binding %bindings[2] (%B, %S) : memref<1x?x?x32xf32>
  %t2 = bufferization.to_tensor %b2 restrict : memref<1x?x?x32xf32> to tensor<1x?x?x32xf32>
  %b3 = tile.binding %bindings[3] (%T) : memref<?xi32>
  %t3 = bufferization.to_tensor %b3 restrict : memref<?xi32> to tensor<?xi32>
  %b4 = tile.binding %bindings[4] (%T) : memref<?xi32>
  %t4 = bufferization.to_tensor %b4 restrict : memref<?xi32> to tensor<?xi32>
  %b5 = tile.binding %bindings[5] (%T) : memref<?x64xf32>
  %res = mohd.attention %t0, %t1, %t2, %t3 in %t4 layer 0 head_dim 16
    : tensor<?x64xf32>, tensor<1x?x?x32xf32>, tensor<1x?x?x32xf32>, tensor<?xi32>, tensor<?xi32>
  bufferization.materialize_in_destination %res in restrict writable %b5 : (tensor<?x64xf32>, memref<?x64xf32>) -> ()
  return
}

// -----

// Without sequences every token has its own, and is attended alone, the last one first. The last block ends at the row of the position.
// CHECK-LABEL: func.func @attention_without_sequences(
// CHECK: %[[TOKENS:.*]] = tile.param %{{.*}}[0]
// CHECK: %[[KEYS:.*]] = tile.binding %{{.*}}[1]
// CHECK: %[[VALUES:.*]] = tile.binding %{{.*}}[2]
// CHECK-NOT: step %c48
// CHECK: scf.for %[[TASK:.*]] = {{.*}} step %c1 {
// CHECK: %[[KV_HEAD:.*]] = arith.divui %[[TASK]], %[[TOKENS]]
// CHECK: %[[BLOCK:.*]] = arith.remui %[[TASK]], %[[TOKENS]]
// CHECK: %[[TOKEN:.*]] = arith.subi %{{.*}}, %[[BLOCK]]
// CHECK: %[[POSITION:.*]] = arith.index_cast %{{.*}} : i32 to index
// CHECK: %[[ROWS:.*]] = arith.addi %[[POSITION]], %c1
// CHECK: scf.for %[[ROW:.*]] = %c0 to %[[ROWS]] step %c32 {
// CHECK: %[[LEFT:.*]] = arith.subi %[[ROWS]], %[[ROW]]
// CHECK: %[[COUNT:.*]] = arith.minui %[[LEFT]], %c32
// CHECK: scf.for %{{.*}} = %c0 to %[[COUNT]] step %c4 {
// CHECK: vector.load %[[KEYS]][%c0, %[[TOKEN]],
// CHECK: scf.for %{{.*}} = %c0 to %{{.*}} iter_args({{.*}}) -> (vector<8xf32>, vector<8xf32>,
// CHECK: vector.load %[[VALUES]][%c0, %[[TOKEN]],
// CHECK-NOT: step %c48
// CHECK: return
func.func @attention_without_sequences(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64) {
  %T = tile.param %params[0]
  %B = tile.param %params[1]
  %S = tile.param %params[2]
  %b0 = tile.binding %bindings[0] (%T) : memref<?x64xf32>
  %t0 = bufferization.to_tensor %b0 restrict : memref<?x64xf32> to tensor<?x64xf32>
  %b1 = tile.binding %bindings[1] (%B, %S) : memref<1x?x?x32xf32>
  %t1 = bufferization.to_tensor %b1 restrict : memref<1x?x?x32xf32> to tensor<1x?x?x32xf32>
  %b2 = tile.binding %bindings[2] (%B, %S) : memref<1x?x?x32xf32>
  %t2 = bufferization.to_tensor %b2 restrict : memref<1x?x?x32xf32> to tensor<1x?x?x32xf32>
  %b3 = tile.binding %bindings[3] (%T) : memref<?xi32>
  %t3 = bufferization.to_tensor %b3 restrict : memref<?xi32> to tensor<?xi32>
  %b5 = tile.binding %bindings[4] (%T) : memref<?x64xf32>
  %res = mohd.attention %t0, %t1, %t2, %t3 layer 0 head_dim 16
    : tensor<?x64xf32>, tensor<1x?x?x32xf32>, tensor<1x?x?x32xf32>, tensor<?xi32>
  bufferization.materialize_in_destination %res in restrict writable %b5 : (tensor<?x64xf32>, memref<?x64xf32>) -> ()
  return
}
