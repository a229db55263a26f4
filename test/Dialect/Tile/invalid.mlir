// RUN: mohd-opt %s -split-input-file -verify-diagnostics

func.func @binding_c1_missing(%bindings: !llvm.ptr) {
  // expected-error @below {{'tile.binding' op expects 1 sizes for 'memref<?x64xf32>', got 0}}
  %x = tile.binding %bindings[0] : memref<?x64xf32>
  return
}

// -----

func.func @binding_c1_many(%bindings: !llvm.ptr, %n: index) {
  // expected-error @below {{expects 0 sizes for 'memref<64xf32>', got 1}}
  %x = tile.binding %bindings[0] (%n) : memref<64xf32>
  return
}

// -----

func.func @binding_c2_strided(%bindings: !llvm.ptr) {
  // expected-error @below {{'tile.binding' op expects a memref with the identity layout, got 'memref<8x64xf32, strided<[128, 1]>>'}}
  %x = tile.binding %bindings[0] : memref<8x64xf32, strided<[128, 1]>>
  return
}

// -----

func.func @param_of_no_pointer(%params: i64) {
  // expected-note @above {{prior use here}}
  // expected-error @below {{use of value '%params' expects different type than prior uses: '!llvm.ptr' vs 'i64'}}
  %x = tile.param %params[0]
  return
}
