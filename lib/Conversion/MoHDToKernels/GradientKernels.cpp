// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of the ops of backward functions that are no products: gradients of gates, scalings, scores, norms, units, left factors of fusions and tables.
// A task is a block of tokens where a token's results depend on nothing else, some columns where they are sums over tokens.
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace mlir::mohd;

/// Tokens in a task.
static constexpr int64_t kGradientTokens = 8;
/// Columns in a task that goes over all tokens: whole cache lines.
static constexpr int64_t kSumColumns = 64;
/// Rows of a table in a task, whose sums are on the stack.
static constexpr int64_t kTableRows = 256;
/// Tokens of which a task of fusion_mix_gradient has a copy of its columns, side by side: rows of a power of two bytes are in each other's way in a cache.
static constexpr int64_t kMixChunk = 32;
/// Rows of a left factor whose sums are in registers at once, and columns: targets have 32 vectors of 16 lanes, 16 of narrower ones.
static constexpr int64_t kMixRows = 4;
static int64_t getMixColumns(int64_t lanes) { return lanes >= 16 ? 4 : 2; }

/// Calls body for each token of a task.
static void forTokens(KernelEmitter &e, llvm::function_ref<void(Value)> body) {
  e.tasks(kGradientTokens, [&](Value, Value lower, Value upper) { e.loop(lower, upper, 1, body); });
}

/// The sum of element(i) over i in [lower, upper), in f32.
static Value sumOf(KernelEmitter &e, int64_t lower, int64_t upper,
                   llvm::function_ref<Value(Value)> element) {
  return e.loop(e.index(lower), e.index(upper), 1, e.f32(0), [&](Value i, ValueRange sum) {
    return SmallVector<Value>{addUp(e, sum[0], element(i))};
  })[0];
}

/// mass^power for a power of -2..1.
static Value raise(KernelEmitter &e, Value mass, int power) {
  if (power == 0)
    return e.f32(1);
  if (power == 1)
    return mass;
  Value inverse = divide(e, e.f32(1), mass);
  return power == -1 ? inverse : multiply(e, inverse, inverse);
}

//===----------------------------------------------------------------------===//
// mohd.permute_weight, mohd.unit_gates
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfPermuteWeight(PermuteWeightOp op) {
  return std::to_string(ShapedType::getNumElements(op.getType().getShape().drop_back()));
}

void mlir::mohd::emitPermuteWeight(KernelEmitter &e, PermuteWeightOp op, ValueRange operands,
                                   ValueRange results) {
  ArrayRef<int64_t> shape = op.getType().getShape(), permutation = op.getPermutation();
  int64_t rank = shape.size();
  bool isContiguous = permutation.back() == rank - 1;
  e.loop(e.begin, e.end, 1, [&](Value task) {
    SmallVector<Value> at(rank), from(rank);
    for (int64_t dim = rank - 2; dim >= 0; --dim) {
      at[dim] = e.rem(task, shape[dim]);
      task = e.div(task, shape[dim]);
    }
    e.columns(shape.back(), isContiguous ? e.lanes : 1, [&](Value column, int64_t width) {
      at[rank - 1] = column;
      for (auto [position, axis] : llvm::enumerate(permutation))
        from[axis] = at[position];
      e.copy(operands[0], from, results[0], at, width);
    });
  });
}

std::string mlir::mohd::gridOfUnitGates(StringRef tokens) {
  return KernelEmitter::gridOf(1, kGradientTokens, tokens);
}

void mlir::mohd::emitUnitGates(KernelEmitter &e, UnitGatesOp op, ValueRange operands,
                               ValueRange results) {
  forTokens(e, [&](Value token) {
    e.loop(e.index(0), e.index(op.getType().getNumActive()), 1, [&](Value slot) {
      e.storeIndex(e.loadIndex(operands[0], {token, slot}), results[0], {token, slot});
      e.store(e.f32(1), results[1], {token, slot});
    });
  });
}

//===----------------------------------------------------------------------===//
// mohd.gate_gradient, mohd.scale_gradient
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfGateGradient(StringRef tokens) {
  return KernelEmitter::gridOf(1, kGradientTokens, tokens);
}

void mlir::mohd::emitGateGradient(KernelEmitter &e, GateGradientOp op, ValueRange operands,
                                  ValueRange results) {
  RoutingType routing = op.getRouting().getType();
  int64_t groupWidth = op.getInput().getType().getDimSize(1) / routing.getNumGroups();
  forTokens(e, [&](Value token) {
    e.loop(e.index(0), e.index(routing.getNumActive()), 1, [&](Value slot) {
      Value first = e.mul(e.loadIndex(operands[2], {token, slot}), e.index(groupWidth));
      Value sum = e.dot(operands[0], {token, first}, operands[1], {token, first}, groupWidth);
      e.store(sum, results[0], {token, slot});
    });
  });
}

std::string mlir::mohd::gridOfScaleGradient(StringRef tokens) {
  return KernelEmitter::gridOf(1, kGradientTokens, tokens);
}

void mlir::mohd::emitScaleGradient(KernelEmitter &e, ScaleGradientOp op, ValueRange operands,
                                   ValueRange results) {
  RoutingType routing = op.getRouting().getType();
  ScalingForm form = getScalingForm(routing, op.getScaling());
  int64_t width = op.getInput().getType().getDimSize(1), numActive = routing.getNumActive();
  Value zero = e.index(0);
  forTokens(e, [&](Value token) {
    Value grad = e.f32(0);
    if (form.massPower != 0) {
      Value mass = sumOf(e, 0, numActive,
                         [&](Value slot) { return e.loadScalar(operands[3], {token, slot}); });
      Value slope =
          multiply(e, e.f32(form.coefficient * form.massPower), raise(e, mass, form.massPower - 1));
      grad =
          multiply(e, slope, e.dot(operands[0], {token, zero}, operands[1], {token, zero}, width));
    }
    e.loop(zero, e.index(numActive), 1,
           [&](Value slot) { e.store(grad, results[0], {token, slot}); });
  });
}

//===----------------------------------------------------------------------===//
// mohd.route_gradient
//===----------------------------------------------------------------------===//

namespace {

/// Writes the gradient of one token's logits.
class RouteGradientEmitter {
public:
  RouteGradientEmitter(KernelEmitter &e, RouteGradientOp op, ValueRange operands, Value result)
      : e(e), op(op), routing(op.getRouting().getType()), numGroups(routing.getNumGroups()),
        numShared(routing.getNumShared()), numActive(routing.getNumActive()), gate(op.getGate()),
        form(getScalingForm(routing, op.getScaling())), scores(operands[0]), indices(operands[1]),
        result(result), scoreGrads(e.array({numGroups})), gateGrads(e.array({numActive})) {
    operands = operands.drop_front(3);
    if (op.getGatesGrad()) {
      gatesGrad = operands.front();
      operands = operands.drop_front();
    }
    if (op.getScoresGrad())
      scoresGrad = operands.front();
    if (routing.getNumRouted() == 0 && gate != Gate::Softmax)
      gate = Gate::Binary;
  }

  void emit() {
    forTokens(e, [&](Value token) {
      e.loop(e.index(0), e.index(numGroups), 1, [&](Value group) {
        e.store(scoresGrad ? e.loadScalar(scoresGrad, {token, group}) : e.f32(0), scoreGrads,
                group);
      });
      if (gatesGrad && gate != Gate::Binary)
        addGates(token);
      storeLogits(token);
    });
  }

private:
  Value group(Value token, Value slot) { return e.loadIndex(indices, {token, slot}); }
  Value score(Value token, Value slot) { return e.loadScalar(scores, {token, group(token, slot)}); }
  void addGates(Value token);
  void addScore(Value token, Value slot, Value grad) {
    Value at = group(token, slot);
    e.store(addUp(e, e.loadScalar(scoreGrads, at), grad), scoreGrads, at);
  }
  void storeLogits(Value token);

  KernelEmitter &e;
  RouteGradientOp op;
  RoutingType routing;
  const int64_t numGroups, numShared, numActive;
  Gate gate;
  const ScalingForm form;
  const Value scores, indices, result;
  const Value scoreGrads, gateGrads; // of one token: [N], [K]
  Value gatesGrad, scoresGrad;       // null if not given
};

} // namespace

/// Adds what the gates give to the gradients of the token's scores.
void RouteGradientEmitter::addGates(Value token) {
  Value routedMass; // of the scores
  if (gate == Gate::Renormalized)
    routedMass = sumOf(e, numShared, numActive, [&](Value slot) { return score(token, slot); });
  auto given = [&](Value slot) { return e.loadScalar(gatesGrad, {token, slot}); };
  // The gate before scaling.
  auto gateOf = [&](Value slot) -> Value {
    Value s = score(token, slot);
    if (gate == Gate::Softmax)
      return s;
    if (gate == Gate::Renormalized)
      s = divide(e, multiply(e, e.f32(routing.getNumRouted()), s), routedMass);
    Value isShared =
        arith::CmpIOp::create(e.b, arith::CmpIPredicate::ult, slot, e.index(numShared));
    return arith::SelectOp::create(e.b, isShared, e.f32(1), s);
  };
  Value scaling = e.f32(form.coefficient), slope;
  if (form.massPower != 0) {
    Value mass = sumOf(e, 0, numActive, gateOf);
    scaling = multiply(e, scaling, raise(e, mass, form.massPower));
    Value dot =
        sumOf(e, 0, numActive, [&](Value slot) { return multiply(e, given(slot), gateOf(slot)); });
    slope = multiply(
        e,
        multiply(e, e.f32(form.coefficient * form.massPower), raise(e, mass, form.massPower - 1)),
        dot);
  }
  e.loop(e.index(0), e.index(numActive), 1, [&](Value slot) {
    Value grad = multiply(e, scaling, given(slot));
    e.store(slope ? addUp(e, grad, slope) : grad, gateGrads, slot);
  });
  auto gateGrad = [&](Value slot) { return e.loadScalar(gateGrads, slot); };
  Value mean, factor;
  if (gate == Gate::Renormalized) {
    mean =
        divide(e,
               sumOf(e, numShared, numActive,
                     [&](Value slot) { return multiply(e, gateGrad(slot), score(token, slot)); }),
               routedMass);
    factor = divide(e, e.f32(routing.getNumRouted()), routedMass);
  }
  int64_t first = gate == Gate::Softmax ? 0 : numShared;
  e.loop(e.index(first), e.index(numActive), 1, [&](Value slot) {
    Value grad = gateGrad(slot);
    if (mean)
      grad = multiply(e, factor, subtract(e, grad, mean));
    addScore(token, slot, grad);
  });
}

/// Writes the gradient of the token's logits from that of its scores.
void RouteGradientEmitter::storeLogits(Value token) {
  auto scoreOf = [&](Value at) { return e.loadScalar(scores, {token, at}); };
  auto gradOf = [&](Value at) { return e.loadScalar(scoreGrads, at); };
  int64_t first = op.getScore() == Score::SoftmaxRouted ? numShared : 0;
  e.loop(e.index(0), e.index(first), 1, [&](Value at) { e.store(e.f32(0), result, {token, at}); });
  Value mean;
  if (op.getScore() != Score::Sigmoid)
    mean =
        sumOf(e, first, numGroups, [&](Value at) { return multiply(e, gradOf(at), scoreOf(at)); });
  e.loop(e.index(first), e.index(numGroups), 1, [&](Value at) {
    Value s = scoreOf(at), grad = gradOf(at);
    grad = mean ? subtract(e, grad, mean) : multiply(e, grad, subtract(e, e.f32(1), s));
    e.store(multiply(e, s, grad), result, {token, at});
  });
}

std::string mlir::mohd::gridOfRouteGradient(StringRef tokens) {
  return KernelEmitter::gridOf(1, kGradientTokens, tokens);
}

void mlir::mohd::emitRouteGradient(KernelEmitter &e, RouteGradientOp op, ValueRange operands,
                                   ValueRange results) {
  RouteGradientEmitter(e, op, operands, results[0]).emit();
}

//===----------------------------------------------------------------------===//
// mohd.balance_loss_gradient
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfBalanceLossGradient() { return "1"; }

void mlir::mohd::emitBalanceLossGradient(KernelEmitter &e, BalanceLossGradientOp op,
                                         ValueRange operands, ValueRange results) {
  RoutingType routing = op.getRouting().getType();
  int64_t numGroups = routing.getNumGroups(), numShared = routing.getNumShared(),
          numRouted = routing.getNumRouted();
  bool isZero = op.getKind() == Balance::None || numRouted == 0;
  double share =
      double(numGroups - numShared) / (op.getKind() == Balance::DeepSeek ? numRouted : 1);
  Value zero = e.index(0), groups = e.index(numGroups);
  Value grads = e.array({numGroups}); // counts, then what each token gets
  auto forEachToken = [&](llvm::function_ref<void(Value)> body) {
    e.loop(zero, e.numTokens, 1, body);
  };
  // The only task.
  e.loop(e.begin, e.end, 1, [&](Value) {
    e.loop(zero, groups, 1, [&](Value group) { e.store(e.f32(0), grads, group); });
    if (!isZero) {
      forEachToken([&](Value token) {
        e.loop(e.index(numShared), e.index(routing.getNumActive()), 1, [&](Value slot) {
          Value group = e.loadIndex(operands[1], {token, slot});
          e.store(addUp(e, e.loadScalar(grads, group), e.f32(1)), grads, group);
        });
      });
      Value wide = arith::IndexCastOp::create(e.b, e.b.getI64Type(), e.numTokens);
      Value tokens = arith::UIToFPOp::create(e.b, e.b.getF32Type(), wide);
      Value factor = multiply(e, e.loadScalar(operands[0], {}),
                              e.f32(op.getCoefficient().convertToDouble() * share));
      e.loop(zero, groups, 1, [&](Value group) {
        Value each =
            divide(e, divide(e, multiply(e, factor, e.loadScalar(grads, group)), tokens), tokens);
        Value isShared =
            arith::CmpIOp::create(e.b, arith::CmpIPredicate::ult, group, e.index(numShared));
        e.store(arith::SelectOp::create(e.b, isShared, e.f32(0), each), grads, group);
      });
    }
    forEachToken([&](Value token) {
      e.columns(numGroups, e.lanes, [&](Value group, int64_t width) {
        e.store(e.load(grads, group, width), results[0], {token, group});
      });
    });
  });
}

//===----------------------------------------------------------------------===//
// mohd.rms_norm_gradient
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfRmsNormGradient(StringRef tokens) {
  return KernelEmitter::gridOf(1, kGradientTokens, tokens);
}

void mlir::mohd::emitRmsNormGradient(KernelEmitter &e, RmsNormGradientOp op, ValueRange operands,
                                     ValueRange results) {
  Value input = operands[0], weight = operands[1], grad = operands[2];
  int64_t width = op.getInput().getType().getDimSize(1), counted = width, groupWidth = width;
  int64_t numActive = 1;
  if (op.getRouting()) {
    groupWidth = width / op.getRouting().getType().getNumGroups();
    numActive = op.getRouting().getType().getNumActive();
    counted = numActive * groupWidth;
  }
  forTokens(e, [&](Value token) {
    auto firstOf = [&](Value slot) {
      return op.getRouting() ? e.mul(e.loadIndex(operands[3], {token, slot}), e.index(groupWidth))
                             : e.index(0);
    };
    Value squares = sumOf(e, 0, numActive, [&](Value slot) {
      Value first = firstOf(slot);
      return e.dot(input, {token, first}, input, {token, first}, groupWidth);
    });
    Value biased =
        addUp(e, divide(e, squares, e.f32(counted)), e.f32(op.getEpsilon().convertToDouble()));
    Value factor = divide(e, e.f32(1), math::SqrtOp::create(e.b, biased));
    e.store(factor, results[1], token);
    auto weighted = [&](Value column, int64_t lanes) {
      return multiply(e, e.load(weight, column, lanes), e.load(grad, {token, column}, lanes));
    };
    Value dot = e.sum(0, width, [&](Value column, int64_t lanes) {
      return multiply(e, weighted(column, lanes), e.load(input, {token, column}, lanes));
    });
    Value cube = multiply(e, factor, multiply(e, factor, factor));
    Value mean = divide(e, multiply(e, cube, dot), e.f32(counted));
    // result = factor * weight * grad, less input * mean where it is counted.
    auto storeColumns = [&](Value first, int64_t numColumns, bool isCounted) {
      e.columns(numColumns, e.lanes, [&](Value offset, int64_t lanes) {
        Value column = e.add(first, offset);
        Value data = multiply(e, e.splat(factor, lanes), weighted(column, lanes));
        if (isCounted)
          data = subtract(e, data,
                          multiply(e, e.load(input, {token, column}, lanes), e.splat(mean, lanes)));
        e.store(data, results[0], {token, column});
      });
    };
    if (op.getRouting())
      storeColumns(e.index(0), width, false);
    e.loop(e.index(0), e.index(numActive), 1,
           [&](Value slot) { storeColumns(firstOf(slot), groupWidth, true); });
  });
}

//===----------------------------------------------------------------------===//
// mohd.column_sums, mohd.embed_gradient
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfColumnSums(ColumnSumsOp op) {
  return std::to_string(llvm::divideCeil(op.getType().getDimSize(0), kSumColumns));
}

void mlir::mohd::emitColumnSums(KernelEmitter &e, ColumnSumsOp op, ValueRange operands,
                                ValueRange results) {
  Value input = op.getInput() ? operands[1] : Value();
  Value factors = op.getFactors() ? operands.back() : Value();
  auto sumColumns = [&](Value column, ArrayRef<Segment> segments) {
    auto place = [&](Segment segment) { return e.add(column, e.index(segment.offset)); };
    SmallVector<Value> sums =
        e.loop(e.index(0), e.numTokens, 1, e.zeros(segments), [&](Value token, ValueRange carried) {
          SmallVector<Value> next;
          for (auto [segment, sum] : llvm::zip_equal(segments, carried)) {
            Value data = e.load(operands[0], {token, place(segment)}, segment.width);
            if (input)
              data = multiply(e, data, e.load(input, {token, place(segment)}, segment.width));
            if (factors)
              data = multiply(e, data, e.splat(e.loadScalar(factors, token), segment.width));
            next.push_back(addUp(e, sum, data));
          }
          return next;
        });
    for (auto [segment, sum] : llvm::zip_equal(segments, sums))
      e.store(sum, results[0], place(segment));
  };
  e.loop(e.begin, e.end, 1, [&](Value task) {
    e.columnTile(op.getType().getDimSize(0), kSumColumns, task, sumColumns);
  });
}

std::string mlir::mohd::gridOfEmbedGradient(EmbedGradientOp op) {
  ArrayRef<int64_t> shape = op.getType().getShape();
  return std::to_string(llvm::divideCeil(shape[0], kTableRows) *
                        llvm::divideCeil(shape[1], kSumColumns));
}

void mlir::mohd::emitEmbedGradient(KernelEmitter &e, EmbedGradientOp op, ValueRange operands,
                                   ValueRange results) {
  int64_t numRows = op.getType().getDimSize(0), width = op.getType().getDimSize(1);
  int64_t numTiles = llvm::divideCeil(width, kSumColumns);
  Value zero = e.index(0);
  Value sums = e.array({std::min(numRows, kTableRows), std::min(width, kSumColumns)});
  e.loop(e.begin, e.end, 1, [&](Value task) {
    Value firstRow = e.mul(e.div(task, numTiles), e.index(kTableRows));
    Value count = e.min(e.index(kTableRows), e.sub(e.index(numRows), firstRow));
    e.columnTile(
        width, kSumColumns, e.rem(task, numTiles), [&](Value column, ArrayRef<Segment> segments) {
          auto store = [&](llvm::function_ref<Value(Segment)> data, Value to, Value row,
                           Value first) {
            for (Segment segment : segments)
              e.store(data(segment), to, {row, e.add(first, e.index(segment.offset))});
          };
          e.loop(zero, count, 1, [&](Value row) {
            store([&](Segment s) { return e.splat(e.f32(0), s.width); }, sums, row, zero);
          });
          e.loop(zero, e.numTokens, 1, [&](Value token) {
            Value row = e.sub(e.loadIndex(operands[0], token), firstRow);
            Value isHere = arith::CmpIOp::create(e.b, arith::CmpIPredicate::ult, row, count);
            e.branch(isHere, [&] {
              store(
                  [&](Segment s) {
                    Value offset = e.index(s.offset);
                    return addUp(e, e.load(sums, {row, offset}, s.width),
                                 e.load(operands[1], {token, e.add(column, offset)}, s.width));
                  },
                  sums, row, zero);
            });
          });
          e.loop(zero, count, 1, [&](Value row) {
            store([&](Segment s) { return e.load(sums, {row, e.index(s.offset)}, s.width); },
                  results[0], e.add(firstRow, row), column);
          });
        });
  });
}

//===----------------------------------------------------------------------===//
// mohd.swiglu_gradient
//===----------------------------------------------------------------------===//

/// 1 / (1 + exp(-x)) of a vector's lanes.
static Value sigmoid(KernelEmitter &e, Value x) {
  Value one = e.splat(e.f32(1), cast<VectorType>(x.getType()).getNumElements());
  return divide(e, one, addUp(e, one, math::ExpOp::create(e.b, arith::NegFOp::create(e.b, x))));
}

Value mlir::mohd::emitSiluSlope(KernelEmitter &e, Value x) {
  Value one = e.splat(e.f32(1), cast<VectorType>(x.getType()).getNumElements());
  Value s = sigmoid(e, x);
  Value slope = multiply(e, s, addUp(e, one, multiply(e, x, subtract(e, one, s))));
  int64_t width = cast<VectorType>(x.getType()).getNumElements();
  Value lowest = e.splat(e.f32(-std::numeric_limits<double>::infinity()), width);
  Value isLowest = arith::CmpFOp::create(e.b, arith::CmpFPredicate::OEQ, x, lowest);
  return arith::SelectOp::create(e.b, isLowest, e.splat(e.f32(0), width), slope);
}

std::string mlir::mohd::gridOfSwigluGradient(StringRef tokens) {
  return KernelEmitter::gridOf(1, 1, tokens);
}

void mlir::mohd::emitSwigluGradient(KernelEmitter &e, SwigluGradientOp op, ValueRange operands,
                                    ValueRange results) {
  e.loop(e.begin, e.end, 1, [&](Value token) {
    e.columns(op.getGate().getType().getDimSize(1), e.lanes, [&](Value column, int64_t width) {
      auto load = [&](int64_t operand) {
        return e.load(operands[operand], {token, column}, width);
      };
      Value gate = load(0), grad = load(2);
      e.store(multiply(e, multiply(e, load(1), grad), emitSiluSlope(e, gate)), results[0],
              {token, column});
      e.store(multiply(e, e.silu(gate), grad), results[1], {token, column});
    });
  });
}

//===----------------------------------------------------------------------===//
// mohd.fusion_mix_gradient
//===----------------------------------------------------------------------===//

std::string mlir::mohd::gridOfFusionMixGradient(FusionMixGradientOp op, int64_t lanes) {
  return std::to_string(llvm::divideCeil(op.getType().getDimSize(0), lanes));
}

namespace {

/// Writes the sums of some l, side by side in vectors, for all s and r.
class MixGradientEmitter {
public:
  MixGradientEmitter(KernelEmitter &e, FusionMixGradientOp op, ValueRange operands, Value result)
      : e(e), shape(op.getType().getShape()), input(operands[0]), grad(operands[1]), result(result),
        sums(e.array({shape[1], shape[2], e.lanes})),
        inputs(e.array({kMixChunk, shape[2], e.lanes})),
        grads(e.array({kMixChunk, shape[1], e.lanes})) {}

  void emit() {
    e.loop(e.begin, e.end, 1, [&](Value task) {
      e.columnTile(shape[0], e.lanes, task, [&](Value first, ArrayRef<Segment> segments) {
        for (Segment segment : segments)
          emitSegment(e.add(first, e.index(segment.offset)), segment.width);
      });
    });
  }

private:
  void emitSegment(Value first, int64_t width);
  void addTile(Value count, int64_t width, Value s, int64_t numRows, Value r, int64_t numColumns);
  /// Calls body(first, count) for pieces of at most `most` of `extent`.
  void forPieces(int64_t extent, int64_t most, llvm::function_ref<void(Value, int64_t)> body) {
    int64_t whole = extent / most * most;
    e.loop(e.index(0), e.index(whole), most, [&](Value first) { body(first, most); });
    if (whole < extent)
      body(e.index(whole), extent - whole);
  }

  KernelEmitter &e;
  const ArrayRef<int64_t> shape; // [l, s, r]
  const Value input, grad, result;
  const Value sums;          // [s, r, vector of l]
  const Value inputs, grads; // of a chunk: [token, r or s, vector of l]
};

} // namespace

/// Adds the `count` tokens of a chunk to the sums of `numRows` s and `numColumns` r.
void MixGradientEmitter::addTile(Value count, int64_t width, Value s, int64_t numRows, Value r,
                                 int64_t numColumns) {
  Value zero = e.index(0);
  auto forSums = [&](llvm::function_ref<void(ArrayRef<Value>)> body) {
    for (int64_t i = 0; i < numRows; ++i)
      for (int64_t j = 0; j < numColumns; ++j)
        body({e.add(s, e.index(i)), e.add(r, e.index(j)), zero});
  };
  SmallVector<Value> acc;
  forSums([&](ArrayRef<Value> at) { acc.push_back(e.load(sums, at, width)); });
  acc = e.loop(zero, count, 1, acc, [&](Value token, ValueRange carried) {
    SmallVector<Value> right, next;
    for (int64_t j = 0; j < numColumns; ++j)
      right.push_back(e.load(inputs, {token, e.add(r, e.index(j)), zero}, width));
    for (int64_t i = 0; i < numRows; ++i) {
      Value left = e.load(grads, {token, e.add(s, e.index(i)), zero}, width);
      for (int64_t j = 0; j < numColumns; ++j)
        next.push_back(e.fma(left, right[j], carried[i * numColumns + j]));
    }
    return next;
  });
  const Value *sum = acc.begin();
  forSums([&](ArrayRef<Value> at) { e.store(*sum++, sums, at); });
}

/// The result for l in [first, +width).
void MixGradientEmitter::emitSegment(Value first, int64_t width) {
  Value zero = e.index(0);
  auto forBlocks = [&](llvm::function_ref<void(Value, Value)> body) {
    e.loop(zero, e.index(shape[1]), 1,
           [&](Value s) { e.loop(zero, e.index(shape[2]), 1, [&](Value r) { body(s, r); }); });
  };
  forBlocks([&](Value s, Value r) { e.store(e.splat(e.f32(0), width), sums, {s, r, zero}); });
  auto copyChunk = [&](Value from, Value to, int64_t blocks, Value lower, Value count) {
    e.loop(zero, count, 1, [&](Value i) {
      e.loop(zero, e.index(blocks), 1, [&](Value block) {
        Value column = e.add(e.mul(block, e.index(shape[0])), first);
        e.store(e.load(from, {e.add(lower, i), column}, width), to, {i, block, zero});
      });
    });
  };
  e.loop(zero, e.numTokens, kMixChunk, [&](Value lower) {
    Value count = e.min(e.index(kMixChunk), e.sub(e.numTokens, lower));
    copyChunk(grad, grads, shape[1], lower, count);
    copyChunk(input, inputs, shape[2], lower, count);
    forPieces(shape[1], kMixRows, [&](Value s, int64_t numRows) {
      forPieces(shape[2], getMixColumns(e.lanes), [&](Value r, int64_t numColumns) {
        addTile(count, width, s, numRows, r, numColumns);
      });
    });
  });
  forBlocks([&](Value s, Value r) {
    for (int64_t lane = 0; lane < width; ++lane)
      e.store(e.loadScalar(sums, {s, r, e.index(lane)}), result,
              {e.add(first, e.index(lane)), s, r});
  });
}

void mlir::mohd::emitFusionMixGradient(KernelEmitter &e, FusionMixGradientOp op,
                                       ValueRange operands, ValueRange results) {
  MixGradientEmitter(e, op, operands, results[0]).emit();
}
