// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The micro-kernel of matrix products.
//
// For each step k of the contraction one vector of weights for each of the tile's columns and one scalar for each of its tokens are loaded, and every
// pair is multiplied and added. A tile of R tokens has R * numVectors() sums in registers; where these are fewer than it takes to hide the latency of an
// addition (8 with two units of 4 cycles), several sets of sums take the steps in turn.
#include "ProductTile.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mohd;

/// Additions under way at once that keep the units busy.
static constexpr int64_t kChainsInFlight = 8;

EvenCut::EvenCut(KernelEmitter &e, Value size, Value count) : count(count) {
  Value divisor = e.max(count, e.index(1)); // nothing is cut into no pieces
  quotient = e.b.createOrFold<arith::DivUIOp>(size, divisor);
  rest = e.b.createOrFold<arith::RemUIOp>(size, divisor);
}

Value EvenCut::start(KernelEmitter &e, Value i) const {
  return e.add(e.mul(i, quotient), e.min(i, rest));
}

EvenCut mlir::mohd::cutBlocks(KernelEmitter &e, int64_t block) {
  return EvenCut(e, e.numTokens, e.ceilDiv(e.numTokens, block));
}

EvenCut mlir::mohd::cutTiles(KernelEmitter &e, Value numTokens, int64_t rows) {
  return EvenCut(e, numTokens, e.ceilDiv(numTokens, rows));
}

TableView::TableView(KernelEmitter &e, Value table, int64_t numOffsets, int64_t numChosen,
                     Value firstToken)
    : e(e), numOffsets(numOffsets), numChosen(numChosen) {
  flat = e.flatten(table);
  base = e.mul(firstToken, e.index(cast<MemRefType>(table.getType()).getDimSize(1)));
}

ProductTile::ProductTile(KernelEmitter &e, int64_t maxRows, int64_t numPanels, int64_t panelWidth)
    : vectorWidth(std::min(e.lanes, panelWidth)), maxRows(maxRows), numPanels(numPanels),
      panelWidth(panelWidth), e(e) {}

void ProductTile::forRows(Value numRows, llvm::function_ref<void(int64_t)> body) const {
  SmallVector<int64_t> cases = llvm::to_vector(llvm::seq<int64_t>(1, maxRows));
  auto choice = scf::IndexSwitchOp::create(e.b, TypeRange(), numRows, cases, cases.size());
  auto fill = [&](Region &region, int64_t rows) {
    OpBuilder::InsertionGuard guard(e.b);
    e.b.setInsertionPointToStart(&region.emplaceBlock());
    body(rows);
    scf::YieldOp::create(e.b);
  };
  fill(choice.getDefaultRegion(), maxRows);
  for (auto [region, rows] : llvm::zip_equal(choice.getCaseRegions(), cases))
    fill(region, rows);
}

int64_t ProductTile::numChains(int64_t rows) const {
  return std::min<int64_t>(llvm::divideCeil(kChainsInFlight, rows * numVectors()), 4);
}

void ProductTile::addStep(MutableArrayRef<Value> sums, int64_t rows, Value step,
                          const Operands &operands) const {
  SmallVector<Value> weights;
  for (int64_t vector = 0; vector < numVectors(); ++vector)
    weights.push_back(operands.right(vector, step));
  for (int64_t row = 0; row < rows; ++row) {
    Value factor = e.splat(operands.left(row, step), vectorWidth);
    for (int64_t vector = 0; vector < numVectors(); ++vector) {
      Value &sum = sums[row * numVectors() + vector];
      sum = e.fma(factor, weights[vector], sum);
    }
  }
}

SmallVector<Value> ProductTile::joinChains(SmallVector<Value> sums, int64_t chains) const {
  const int64_t numSums = sums.size() / chains;
  for (int64_t stride = chains; stride > 1; stride -= stride / 2)
    for (int64_t i = 0; i < numSums * (stride / 2); ++i) {
      Value &sum = sums[i];
      sum = arith::AddFOp::create(e.b, sum, sums[i + numSums * (stride - stride / 2)]);
    }
  sums.truncate(numSums);
  return sums;
}

SmallVector<Value> ProductTile::multiply(int64_t rows, Value numOuter, Value depth,
                                         llvm::function_ref<Operands(Value)> operands,
                                         const Scale &scale) const {
  int64_t numSums = rows * numVectors(), chains = numChains(rows);
  Value zero = e.splat(e.f32(0), vectorWidth);
  SmallVector<Value> init(numSums * chains, zero);
  auto inner = [&](Value outer, ValueRange carried) {
    Operands inputs = operands(outer);
    auto steps = [&](int64_t unroll) {
      return [&, unroll](Value step, ValueRange sums) {
        SmallVector<Value> next(sums);
        for (int64_t chain = 0; chain < unroll; ++chain) {
          Value place = e.add(step, e.index(chain));
          if (chain % inputs.aheadSteps == 0)
            inputs.ahead(place);
          addStep(MutableArrayRef<Value>(next).slice(chain * numSums, numSums), rows, place,
                  inputs);
        }
        return next;
      };
    };
    if (chains == 1)
      return e.loop(e.index(0), depth, 1, carried, steps(1));
    Value whole = e.mul(e.div(depth, chains), e.index(chains));
    SmallVector<Value> sums = e.loop(e.index(0), whole, chains, carried, steps(chains));
    return e.loop(whole, depth, 1, sums, steps(1));
  };
  if (!scale)
    return joinChains(e.loop(e.index(0), numOuter, 1, init, inner), chains);
  auto scaled = [&](Value outer, ValueRange carried) {
    SmallVector<Value> sums = joinChains(inner(outer, init), chains);
    for (int64_t vector = 0; vector < numVectors(); ++vector) {
      Value factor = scale(outer, vector);
      for (int64_t i = vector; i < numSums; i += numVectors())
        sums[i] = e.fma(sums[i], factor, carried[i]);
    }
    return sums;
  };
  return e.loop(e.index(0), numOuter, 1, SmallVector<Value>(numSums, zero), scaled);
}
