// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: mohd-opt %s --mohd-pipeline-lower | mlir-runner --entry-point-result=i32 | FileCheck %s

// Sine and cosine in f64 over the whole range of positions, the exponential in f32 with its limits: bits of what is wrong.
// CHECK: {{^}}0{{$}}

memref.global "private" constant @x : memref<8xf64> = dense<[0.5, -3.0, 1.5707963267948966, 7.0, 12345.678, 99999.0, -1048576.0, 1.00000000000000006e-09]>
memref.global "private" constant @sin : memref<8xf64> = dense<[0.479425538604203, -0.1411200080598672, 1.0, 0.6569865987187891, -0.7040813137533816, 0.860248280789742, -0.3304931400217347, 1.00000000000000006e-09]>
memref.global "private" constant @cos : memref<8xf64> = dense<[0.8775825618903728, -0.9899924966004454, 6.12323399573676604e-17, 0.7539022543433046, 0.7101193587160628, -0.5098753724179009, 0.943808393901312, 1.0]>
memref.global "private" constant @y : memref<8xf32> = dense<[0.0, 1.0, -1.0, 20.0, -80.0, 88.5, -0.25, 3.0]>
memref.global "private" constant @exp : memref<8xf32> = dense<[1.0, 2.718281828459045, 0.36787944117144233, 485165195.4097903, 1.80485138784541503e-35, 2.72308782506811169e+38, 0.7788007830714049, 20.085536923187668]>
// Inf, -Inf, NaN and a value that overflows.
memref.global "private" constant @limits : memref<4xf32> = dense<[0x7F800000, 0xFF800000, 0x7FC00000, 100.0]>

// True if a lane of `got` is further than `tolerance` from `want`; so is a NaN.
func.func private @differs_f64(%got: vector<8xf64>, %want: vector<8xf64>, %tolerance: f64) -> i1 {
  %difference = arith.subf %got, %want : vector<8xf64>
  %size = math.absf %difference : vector<8xf64>
  %limit = vector.broadcast %tolerance : f64 to vector<8xf64>
  %far = arith.cmpf ugt, %size, %limit : vector<8xf64>
  %any = vector.reduction <or>, %far : vector<8xi1> into i1
  return %any : i1
}

func.func @main() -> i32 {
  %zero = arith.constant 0 : index
  %tolerance = arith.constant 3.0e-16 : f64
  %x_table = memref.get_global @x : memref<8xf64>
  %sin_table = memref.get_global @sin : memref<8xf64>
  %cos_table = memref.get_global @cos : memref<8xf64>
  %x = vector.load %x_table[%zero] : memref<8xf64>, vector<8xf64>
  %sin = vector.load %sin_table[%zero] : memref<8xf64>, vector<8xf64>
  %cos = vector.load %cos_table[%zero] : memref<8xf64>, vector<8xf64>
  %my_sin = math.sin %x : vector<8xf64>
  %my_cos = math.cos %x : vector<8xf64>
  %bad_sin = call @differs_f64(%my_sin, %sin, %tolerance) : (vector<8xf64>, vector<8xf64>, f64) -> i1
  %bad_cos = call @differs_f64(%my_cos, %cos, %tolerance) : (vector<8xf64>, vector<8xf64>, f64) -> i1

  %y_table = memref.get_global @y : memref<8xf32>
  %exp_table = memref.get_global @exp : memref<8xf32>
  %y = vector.load %y_table[%zero] : memref<8xf32>, vector<8xf32>
  %exp = vector.load %exp_table[%zero] : memref<8xf32>, vector<8xf32>
  %my_exp = math.exp %y : vector<8xf32>
  %ratio = arith.divf %my_exp, %exp : vector<8xf32>
  %wide = arith.extf %ratio : vector<8xf32> to vector<8xf64>
  %ones = arith.constant dense<1.0> : vector<8xf64>
  %relative = arith.constant 5.0e-7 : f64
  %bad_exp = call @differs_f64(%wide, %ones, %relative) : (vector<8xf64>, vector<8xf64>, f64) -> i1

  %limits_table = memref.get_global @limits : memref<4xf32>
  %limits = vector.load %limits_table[%zero] : memref<4xf32>, vector<4xf32>
  %at_limits = math.exp %limits : vector<4xf32>
  %at_inf = vector.extract %at_limits[0] : f32 from vector<4xf32>
  %at_minus_inf = vector.extract %at_limits[1] : f32 from vector<4xf32>
  %at_nan = vector.extract %at_limits[2] : f32 from vector<4xf32>
  %at_100 = vector.extract %at_limits[3] : f32 from vector<4xf32>
  %inf = arith.constant 0x7F800000 : f32
  %none = arith.constant 0.0 : f32
  %bad_inf = arith.cmpf une, %at_inf, %inf : f32
  %bad_minus_inf = arith.cmpf une, %at_minus_inf, %none : f32
  %bad_nan = arith.cmpf ord, %at_nan, %at_nan : f32
  %bad_100 = arith.cmpf une, %at_100, %inf : f32

  %bits = vector.from_elements %bad_sin, %bad_cos, %bad_exp, %bad_inf, %bad_minus_inf, %bad_nan, %bad_100, %bad_sin : vector<8xi1>
  %byte = vector.bitcast %bits : vector<8xi1> to vector<1xi8>
  %value = vector.extract %byte[0] : i8 from vector<1xi8>
  %result = arith.extui %value : i8 to i32
  return %result : i32
}
