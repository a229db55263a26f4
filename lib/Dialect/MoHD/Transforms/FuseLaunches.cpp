// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs the launches that few tokens take as one.
//
//   mohd.dispatch @a grid "ceildiv(T,4)" params ["T"] bindings [%x, %y]
//   mohd.dispatch @b_few grid "min(1,16/max(1,T))*8" params ["T"] bindings [%y, %z]
//   mohd.dispatch @b_many grid "(1-min(1,16/max(1,T)))*T" params ["T"] bindings [%y, %z]
//   ->
//   mohd.dispatch @fused_0 grid "min(1,16/max(1,T))*1024" params ["T", "ceildiv(T,4)", ...] bindings [%x, %y, %y, %z, counter]
//   mohd.dispatch @a grid "(1-min(1,16/max(1,T)))*ceildiv(T,4)" params ["T"] bindings [%x, %y]
//   mohd.dispatch @b_many grid "(1-min(1,16/max(1,T)))*T" params ["T"] bindings [%y, %z]
//
// Test: test/Dialect/MoHD/fuse-launches.mlir.
#include "mohd/Conversion/MoHDToGpu/GpuKernels.h"
#include "mohd/Dialect/MoHD/IR/AttributeNames.h"
#include "mohd/Dialect/MoHD/Transforms/Passes.h"
#include "mohd/format/bundle.h"

#include "mlir/IR/IRMapping.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SmallSet.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/MathExtras.h"

#include <set>

namespace mlir::mohd {
#define GEN_PASS_DEF_FUSELAUNCHESPASS
#include "mohd/Dialect/MoHD/Transforms/Passes.h.inc"
} // namespace mlir::mohd

using namespace mlir;
using namespace mlir::mohd;

/// Threads of a fused kernel's block at most: with more, a thread has 128 registers, which some layers spilled.
static constexpr int64_t kMostThreads = 256;
/// Parts of a block at most: each has one of the 15 barriers that the block as a whole does not use.
static constexpr int64_t kMostParts = 15;
/// Bytes of shared memory at most, so that two blocks fit on an SM.
static constexpr int64_t kMostShared = 96 << 10;
/// Blocks of a launch: more than a GPU holds at a time. The runtime launches as many as it does.
static constexpr int64_t kMostBlocks = 1024;
/// The counter of tile.grid_sync, with a cache line for itself.
static constexpr int64_t kCounterBytes = 128;

//===----------------------------------------------------------------------===//
// Grids
//===----------------------------------------------------------------------===//

namespace {

/// A factor of a grid that is 0 unless there are at most (or more than) `few` of `tokens`.
struct TokenRange {
  bool isUpper; // whether at most
  int64_t few;
  StringRef tokens;
};

} // namespace

/// The factors of a product.
static SmallVector<StringRef> splitFactors(StringRef expression) {
  SmallVector<StringRef> factors;
  int depth = 0;
  size_t start = 0;
  for (size_t i = 0; i < expression.size(); ++i) {
    depth += expression[i] == '(' ? 1 : expression[i] == ')' ? -1 : 0;
    if (depth > 0)
      continue;
    if (expression[i] == '+' || expression[i] == '-') // of the whole expression: no product
      return {expression};
    if (expression[i] == '*') {
      factors.push_back(expression.slice(start, i));
      start = i + 1;
    }
  }
  factors.push_back(expression.drop_front(start));
  return factors;
}

/// What isFew() and isMany() write.
static std::optional<TokenRange> parseRange(StringRef factor) {
  StringRef text = factor;
  bool isUpper = !text.consume_front("(1-");
  if (!isUpper && !text.consume_back(")"))
    return std::nullopt;
  TokenRange range = {isUpper, 0, ""};
  if (!text.consume_front("min(1,") || text.consumeInteger(10, range.few) ||
      !text.consume_front("/max(1,") || !text.consume_back("))"))
    return std::nullopt;
  range.tokens = text;
  // The rest may hold more than the number: compare with what is written for it.
  bool isSame = factor == (isUpper ? isFew(text, range.few) : isMany(text, range.few));
  return isSame ? std::optional(range) : std::nullopt;
}

static SmallVector<TokenRange> getRanges(StringRef grid) {
  SmallVector<TokenRange> ranges;
  for (StringRef factor : splitFactors(grid))
    if (std::optional<TokenRange> range = parseRange(factor))
      ranges.push_back(*range);
  return ranges;
}

/// Whether a dispatch has no blocks for 1 to kFewTokens of `tokens`, or for more.
static bool hasNoneForFew(DispatchOp dispatch, StringRef tokens) {
  return llvm::any_of(getRanges(dispatch.getGrid()), [&](const TokenRange &range) {
    return !range.isUpper && range.few >= kFewTokens && range.tokens == tokens;
  });
}
static bool hasNoneForMany(DispatchOp dispatch, StringRef tokens) {
  return llvm::any_of(getRanges(dispatch.getGrid()), [&](const TokenRange &range) {
    return range.isUpper && range.few <= kFewTokens && range.tokens == tokens;
  });
}

/// Whether at most one of two dispatches has blocks.
static bool areExclusive(DispatchOp lhs, DispatchOp rhs) {
  SmallVector<TokenRange> other = getRanges(rhs.getGrid());
  return llvm::any_of(getRanges(lhs.getGrid()), [&](const TokenRange &a) {
    return llvm::any_of(other, [&](const TokenRange &b) {
      if (a.isUpper == b.isUpper || a.tokens != b.tokens)
        return false;
      return a.isUpper ? a.few <= b.few : b.few <= a.few;
    });
  });
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

namespace {

/// What is known of a kernel.
struct KernelInfo {
  LLVM::LLVMFuncOp function;
  bool canBeStage = false, isForMany = false;
  int64_t threads = 0, sharedBytes = 0;
  SmallVector<bool> writes; // by binding
};

/// A dispatch of a run that becomes a launch.
struct Stage {
  Operation *op;
  const KernelInfo *kernel;

  DispatchOp dispatch() const { return cast<DispatchOp>(op); }
};

} // namespace

/// Whether a stage can have the op, and what it does to the buffers that are given by `roots` (pointers and the bindings they point into).
static bool inspectOp(Operation *op, DenseMap<Value, int64_t> &roots, KernelInfo &info) {
  if (auto gep = dyn_cast<LLVM::GEPOp>(op)) {
    if (auto root = roots.find(gep.getBase()); root != roots.end())
      roots[gep.getResult()] = root->second;
    return true;
  }
  if (auto value = dyn_cast<tile::SpecialRegisterOp>(op))
    return llvm::is_contained({tile::Register::TidX, tile::Register::NtidX, tile::Register::CtaidX,
                               tile::Register::NctaidX, tile::Register::Lane},
                              value.getWhich());
  if (auto barrier = dyn_cast<tile::BarrierSyncOp>(op))
    return !barrier.getBarrier();
  if (isa<tile::LoadOp, LLVM::ReturnOp>(op))
    return true;
  for (Value operand : op->getOperands()) {
    auto pointer = dyn_cast<LLVM::LLVMPointerType>(operand.getType());
    if (!pointer || pointer.getAddressSpace() == 3)
      continue;
    auto root = roots.find(operand);
    if (root == roots.end())
      return false;
    auto copy = dyn_cast<tile::CopyAsyncOp>(op);
    if (!(copy && copy.getFrom() == operand))
      info.writes[root->second] = true;
  }
  bool isPlain = isa_and_nonnull<arith::ArithDialect, scf::SCFDialect>(op->getDialect()) ||
                 op->getDialect()->getNamespace() == "math" ||
                 isa_and_nonnull<LLVM::LLVMDialect>(op->getDialect());
  return isPlain ||
         isa<tile::SharedOp, tile::StoreOp, tile::AtomicOp, tile::FenceOp, tile::WarpSyncOp,
             tile::ShuffleOp, tile::BallotOp, tile::Exp2Op, tile::PackOp, tile::UnpackOp,
             tile::MmaOp, tile::LoadMatrixOp, tile::StoreMatrixOp, tile::CopyAsyncOp,
             tile::CopyAsyncCommitOp, tile::CopyAsyncWaitOp>(op);
}

static KernelInfo inspectKernel(LLVM::LLVMFuncOp function, size_t numBindings) {
  KernelInfo info;
  info.function = function;
  auto get = [&](StringRef name) {
    auto number = function->getAttrOfType<IntegerAttr>(name);
    return number ? number.getInt() : 0;
  };
  info.isForMany = function->hasAttr(kManyTokensAttr);
  info.threads = get(tile::kThreadsAttr);
  info.sharedBytes = get(tile::kSharedBytesAttr);
  info.writes.assign(numBindings, false);
  if (function.isExternal() || info.threads == 0 || info.threads > kMostThreads ||
      info.sharedBytes > kMostShared)
    return info;
  DenseMap<Value, int64_t> roots;
  for (size_t i = 0; i < numBindings; ++i)
    roots[function.getArgument(i)] = int64_t(i);
  WalkResult result = function.walk<WalkOrder::PreOrder>([&](Operation *op) {
    return op == function || inspectOp(op, roots, info) ? WalkResult::advance()
                                                        : WalkResult::interrupt();
  });
  info.canBeStage = !result.wasInterrupted() && function.getBody().hasOneBlock();
  return info;
}

//===----------------------------------------------------------------------===//
// Order
//===----------------------------------------------------------------------===//

/// The number c of "T*c" for one name or product T, 0 of "0"; none of others.
static std::optional<std::pair<StringRef, int64_t>> parseMultiple(StringRef expression) {
  if (expression == "0")
    return std::pair<StringRef, int64_t>("", 0);
  auto [name, number] = expression.rsplit('*');
  int64_t value = 0;
  bool isSum = name.find_first_of("(+-/") != StringRef::npos;
  if (number.empty() || number.getAsInteger(10, value) || isSum)
    return std::nullopt;
  return std::pair(name, value);
}

/// Whether two bindings may have a byte in common.
static bool mayOverlap(BindingAttr lhs, BindingAttr rhs) {
  if (lhs.getKind() != rhs.getKind() || lhs.getIndex() != rhs.getIndex())
    return false;
  auto from1 = parseMultiple(lhs.getOffset()), size1 = parseMultiple(lhs.getSize());
  auto from2 = parseMultiple(rhs.getOffset()), size2 = parseMultiple(rhs.getSize());
  if (!from1 || !from2 || !size1 || !size2)
    return true;
  StringRef name;
  for (const auto &part : {*from1, *size1, *from2, *size2}) {
    if (part.second == 0)
      continue;
    if (!name.empty() && part.first != name)
      return true;
    name = part.first;
  }
  return from1->second < from2->second + size2->second &&
         from2->second < from1->second + size1->second;
}

/// Whether `later` has to wait for `earlier`.
static bool dependsOn(const Stage &later, const Stage &earlier) {
  if (areExclusive(later.dispatch(), earlier.dispatch()))
    return false;
  for (auto [i, own] : llvm::enumerate(later.dispatch().getBindings().getAsRange<BindingAttr>()))
    for (auto [j, its] :
         llvm::enumerate(earlier.dispatch().getBindings().getAsRange<BindingAttr>()))
      if ((later.kernel->writes[i] || earlier.kernel->writes[j]) && mayOverlap(own, its))
        return true;
  return false;
}

//===----------------------------------------------------------------------===//
// Fused kernels
//===----------------------------------------------------------------------===//

namespace {

/// How many parts of a block run a stage, and the bytes of shared memory of each.
struct Parts {
  int64_t count, sharedBytes;
};

/// What stages become: the fused dispatch's operands, and for each stage where it finds its own.
struct Launch {
  SmallVector<Attribute> bindings;            // one stage's after the other's, then the counter
  SmallVector<Attribute> params;              // values of the stages' params, and their grids
  SmallVector<SmallVector<int64_t>> paramsOf; // of each stage; the last one is its grid
  SmallVector<bool> waits;                    // for the grid, before the stage
  int64_t threads = 0;
};

/// Writes the body of a fused kernel.
class FusedKernelWriter {
public:
  FusedKernelWriter(LLVM::LLVMFuncOp function, ArrayRef<Stage> stages, const Launch &launch)
      : function(function), stages(stages), launch(launch) {}

  void write();

private:
  Parts getParts(const Stage &stage) const;
  void writeStage(GpuEmitter &e, size_t number, size_t firstBinding);
  /// Makes what a stage's op has to be in a part of a block.
  void adapt(GpuEmitter &e, Operation *op);
  bool isWhole() const { return threads == launch.threads; } // the part is the block
  /// Waits for the threads of the part.
  void synchronise(GpuEmitter &e);

  LLVM::LLVMFuncOp function;
  ArrayRef<Stage> stages;
  const Launch &launch;
  // Of the stage that is written:
  Parts parts = {1, 0};
  int64_t threads = 0;
  Term part, thread, block, grid;
};

} // namespace

Parts FusedKernelWriter::getParts(const Stage &stage) const {
  int64_t bytes = int64_t(llvm::alignTo(stage.kernel->sharedBytes, 128));
  int64_t count = std::min(launch.threads / stage.kernel->threads, kMostParts);
  if (bytes > 0)
    count = std::min(count, kMostShared / bytes);
  return {count, bytes};
}

void FusedKernelWriter::synchronise(GpuEmitter &e) {
  if (isWhole())
    return e.barrier();
  Term barrier = part + 1;
  tile::BarrierSyncOp::create(e.b, barrier.value, e.b.getI32IntegerAttr(threads));
}

void FusedKernelWriter::adapt(GpuEmitter &e, Operation *op) {
  OpBuilder::InsertionGuard guard(e.b);
  e.b.setInsertionPoint(op);
  if (auto value = dyn_cast<tile::SpecialRegisterOp>(op)) {
    if (value.getWhich() == tile::Register::Lane)
      return;
    Term replacement = value.getWhich() == tile::Register::TidX     ? thread
                       : value.getWhich() == tile::Register::CtaidX ? block
                       : value.getWhich() == tile::Register::NtidX  ? e.i32(threads)
                                                                    : grid;
    op->replaceAllUsesWith(ValueRange(replacement.value));
    op->erase();
  } else if (auto shared = dyn_cast<tile::SharedOp>(op); shared && parts.count > 1) {
    Value own = e.advance(e.shared(int64_t(shared.getOffset())), part * parts.sharedBytes);
    op->replaceAllUsesWith(ValueRange(own));
    op->erase();
  } else if (isa<tile::BarrierSyncOp>(op)) {
    synchronise(e);
    op->erase();
  }
}

void FusedKernelWriter::writeStage(GpuEmitter &e, size_t number, size_t firstBinding) {
  const Stage &stage = stages[number];
  parts = getParts(stage);
  threads = stage.kernel->threads;
  ArrayRef<int64_t> params = launch.paramsOf[number];
  auto getParam = [&](int64_t place) {
    return function.getArgument(unsigned(launch.bindings.size()) + unsigned(place));
  };
  grid = toI32(e.wrap(getParam(params.back())));
  part = isWhole() ? e.i32(0) : e.thread() / threads;
  thread = isWhole() ? e.thread() : e.thread() % threads;
  // Neighbouring tasks go to different blocks: few tasks have an SM each.
  Term first = isWhole() ? e.block() : part * e.numBlocks() + e.block();
  Term step = e.numBlocks() * parts.count;
  auto walk = [&] {
    e.loop(first, grid, step, [&](Term task) {
      block = task;
      IRMapping map;
      LLVM::LLVMFuncOp kernel = stage.kernel->function;
      size_t numBindings = stage.kernel->writes.size();
      for (size_t i = 0; i < numBindings; ++i)
        map.map(kernel.getArgument(i), function.getArgument(firstBinding + i));
      for (auto [i, place] : llvm::enumerate(params.drop_back()))
        map.map(kernel.getArgument(numBindings + i), getParam(place));
      SmallVector<Operation *> copied;
      for (Operation &op : kernel.getBody().front().without_terminator())
        e.b.clone(op, map)->walk([&](Operation *inner) { copied.push_back(inner); });
      for (Operation *op : copied)
        adapt(e, op);
      if (stage.kernel->sharedBytes > 0)
        synchronise(e); // before it is the next task's
    });
  };
  if (parts.count * threads == launch.threads)
    walk();
  else
    e.when(part < parts.count, walk);
}

/// What the stages' kernels demand, in order; null if that is nothing. Not what the copies of their ops would: nothing may get lost here.
static ArrayAttr collectInstructions(ArrayRef<Stage> stages) {
  std::set<StringRef> instructions;
  for (const Stage &stage : stages)
    if (auto list = stage.kernel->function->getAttrOfType<ArrayAttr>(kInstructionsAttr))
      for (auto text : list.getAsRange<StringAttr>())
        instructions.insert(text.getValue());
  SmallVector<StringRef> list(instructions.begin(), instructions.end());
  Builder builder(stages.front().op->getContext());
  return list.empty() ? ArrayAttr() : builder.getStrArrayAttr(list);
}

void FusedKernelWriter::write() {
  int64_t sharedBytes = 0;
  for (const Stage &stage : stages) {
    Parts needed = getParts(stage);
    sharedBytes = std::max(sharedBytes, needed.count * needed.sharedBytes);
  }
  MLIRContext *context = function.getContext();
  OpBuilder outer(context);
  function->setAttr(tile::kCooperativeAttr, outer.getUnitAttr());
  function->setAttr(tile::kSharedBytesAttr, outer.getI64IntegerAttr(sharedBytes));
  if (ArrayAttr instructions = collectInstructions(stages))
    function->setAttr(kInstructionsAttr, instructions);
  ImplicitLocOpBuilder b(function.getLoc(), context);
  b.setInsertionPointToStart(function.addEntryBlock(outer));
  GpuEmitter e(b);
  Value counter = function.getArgument(launch.bindings.size() - 1);
  size_t firstBinding = 0;
  for (size_t number = 0; number < stages.size(); ++number) {
    if (launch.waits[number])
      tile::GridSyncOp::create(b, counter);
    else if (number > 0)
      e.barrier(); // shared memory is another stage's
    writeStage(e, number, firstBinding);
    firstBinding += stages[number].kernel->writes.size();
  }
  LLVM::ReturnOp::create(b, ValueRange());
}

//===----------------------------------------------------------------------===//
// Programs
//===----------------------------------------------------------------------===//

namespace {

/// What the programs of a module share.
struct FusedKernels {
  ModuleOp module;
  SymbolTable symbols;
  llvm::StringMap<KernelInfo> infos;
  llvm::StringMap<LLVM::LLVMFuncOp> fused; // by key
  LLVM::LLVMFuncOp clear;
  int64_t numLaunches = 0, numStages = 0;

  explicit FusedKernels(ModuleOp module) : module(module), symbols(module) {}
  const KernelInfo &getInfo(DispatchOp dispatch);
  LLVM::LLVMFuncOp getClear();
};

class ProgramFuser {
public:
  ProgramFuser(FusedKernels &kernels, ProgramOp program) : kernels(kernels), program(program) {}
  void run();

private:
  void addRun(SmallVector<Stage> &run);
  void addLaunch(ArrayRef<Stage> stages, ArrayRef<bool> waits);
  Launch describe(ArrayRef<Stage> stages, ArrayRef<bool> waits);

  FusedKernels &kernels;
  ProgramOp program;
  BindingAttr counter;
  SmallVector<StringRef> launchTokens; // what launches call the number of tokens
};

} // namespace

const KernelInfo &FusedKernels::getInfo(DispatchOp dispatch) {
  auto [known, isNew] = infos.try_emplace(dispatch.getKernel());
  if (isNew)
    if (auto function = symbols.lookup<LLVM::LLVMFuncOp>(dispatch.getKernel()))
      known->second = inspectKernel(function, dispatch.getBindings().size());
  return known->second;
}

/// The kernel that clears a counter.
LLVM::LLVMFuncOp FusedKernels::getClear() {
  if (clear)
    return clear;
  OpBuilder outer = OpBuilder::atBlockEnd(module.getBody());
  MLIRContext *context = module.getContext();
  clear = createGpuKernel(outer, module.getLoc(), "clear_counter",
                          LLVM::LLVMPointerType::get(context, 1), /*threads=*/32, /*minBlocks=*/1);
  symbols.insert(clear);
  clear->setAttr(tile::kSharedBytesAttr, outer.getI64IntegerAttr(0));
  ImplicitLocOpBuilder b(module.getLoc(), context);
  b.setInsertionPointToStart(clear.addEntryBlock(outer));
  GpuEmitter e(b);
  e.when(e.thread() == 0, [&] { e.store(e.i32(0), clear.getArgument(0)); });
  LLVM::ReturnOp::create(b, ValueRange());
  return clear;
}

/// Before which stages the grid has to wait, for those of `waits` that are already known too.
static SmallVector<bool> findWaits(ArrayRef<Stage> stages, ArrayRef<bool> known = {}) {
  SmallVector<bool> waits;
  size_t firstUnsynced = 0;
  for (size_t number = 0; number < stages.size(); ++number) {
    ArrayRef<Stage> unsynced = stages.slice(firstUnsynced, number - firstUnsynced);
    bool isWaiting = !known.empty() && known[number];
    isWaiting |= llvm::any_of(
        unsynced, [&](const Stage &earlier) { return dependsOn(stages[number], earlier); });
    waits.push_back(isWaiting);
    if (isWaiting)
      firstUnsynced = number;
  }
  return waits;
}

Launch ProgramFuser::describe(ArrayRef<Stage> stages, ArrayRef<bool> waits) {
  Launch launch;
  launch.waits.assign(waits.begin(), waits.end());
  for (const Stage &stage : stages) {
    llvm::append_range(launch.bindings, stage.dispatch().getBindings());
    SmallVector<Attribute> params(stage.dispatch().getParams().getValue());
    params.push_back(stage.dispatch().getGridAttr());
    SmallVector<int64_t> &places = launch.paramsOf.emplace_back();
    for (Attribute param : params) {
      if (!llvm::is_contained(launch.params, param))
        launch.params.push_back(param);
      places.push_back(llvm::find(launch.params, param) - launch.params.begin());
    }
    launch.threads = std::max(launch.threads, stage.kernel->threads);
  }
  launch.bindings.push_back(counter);
  return launch;
}

/// Puts one launch before the first of `stages`.
void ProgramFuser::addLaunch(ArrayRef<Stage> stages, ArrayRef<bool> waits) {
  if (stages.size() < 2)
    return;
  Launch launch = describe(stages, waits);
  size_t half = stages.size() / 2;
  if (launch.bindings.size() > ::mohdrt::kMaxBindings ||
      launch.params.size() > ::mohdrt::kMaxParams) {
    addLaunch(stages.take_front(half), waits.take_front(half));
    return addLaunch(stages.drop_front(half), waits.drop_front(half));
  }
  std::string key;
  llvm::raw_string_ostream stream(key);
  for (auto [number, stage] : llvm::enumerate(stages)) {
    stream << stage.dispatch().getKernel() << (launch.waits[number] ? " waits" : "");
    for (int64_t place : launch.paramsOf[number])
      stream << ' ' << place;
    stream << ';';
  }
  stream << launch.bindings.size() << ' ' << launch.params.size();
  LLVM::LLVMFuncOp &function = kernels.fused[key];
  MLIRContext *context = program.getContext();
  if (!function) {
    OpBuilder outer = OpBuilder::atBlockEnd(kernels.module.getBody());
    SmallVector<Type> types(launch.bindings.size(), LLVM::LLVMPointerType::get(context, 1));
    types.append(launch.params.size(), outer.getI64Type());
    function = createGpuKernel(outer, stages.front().dispatch().getLoc(),
                               "fused_" + std::to_string(kernels.fused.size() - 1), types,
                               launch.threads, /*minBlocks=*/1);
    kernels.symbols.insert(function);
    FusedKernelWriter(function, stages, launch).write();
  }
  StringRef tokens = cast<StringAttr>(stages.front().dispatch().getParams()[0]).getValue();
  // For no tokens too: a sum over tokens is then written as 0.
  std::string grid = isFew(tokens, kFewTokens) + "*" + std::to_string(kMostBlocks);
  OpBuilder b(stages.front().dispatch());
  DispatchOp::create(b, stages.front().dispatch().getLoc(), FlatSymbolRefAttr::get(function),
                     b.getStringAttr(grid), b.getArrayAttr(launch.params),
                     b.getArrayAttr(launch.bindings), ArrayAttr());
  if (!llvm::is_contained(launchTokens, tokens))
    launchTokens.push_back(tokens);
  ++kernels.numLaunches;
  kernels.numStages += int64_t(stages.size());
  for (const Stage &stage : stages) {
    DispatchOp dispatch = stage.dispatch();
    if (hasNoneForMany(dispatch, tokens))
      dispatch.erase();
    else
      dispatch.setGrid((isMany(tokens, kFewTokens) + "*(" + dispatch.getGrid() + ")").str());
  }
}

/// Cuts a run into launches: where it repeats itself, one for each repetition.
void ProgramFuser::addRun(SmallVector<Stage> &run) {
  SmallVector<std::string> keys;
  for (const Stage &stage : run)
    keys.push_back((stage.dispatch().getKernel() + " " + stage.dispatch().getGrid()).str());
  size_t size = run.size(), start = 0, period = size, covered = 0;
  for (size_t p = 2; p <= size / 2; ++p)
    for (size_t i = 0, same = 0; i + p < size; ++i) {
      same = keys[i] == keys[i + p] ? same + 1 : 0;
      size_t whole = same < p ? 0 : (same / p + 1) * p;
      if (whole > covered) {
        covered = whole;
        period = p;
        start = i + 1 - same;
      }
    }
  ArrayRef<Stage> stages = run;
  auto add = [&](ArrayRef<Stage> part) { addLaunch(part, findWaits(part)); };
  if (covered * 2 < size) { // repetitions are a small part
    add(stages);
  } else {
    add(stages.take_front(start));
    // The workspace may be laid out in other ways from one to the next: the kernel waits where any of them has to.
    SmallVector<bool> waits;
    for (size_t i = start; i < start + covered; i += period)
      waits = findWaits(stages.slice(i, period), waits);
    for (size_t i = start; i < start + covered; i += period)
      addLaunch(stages.slice(i, period), waits);
    add(stages.drop_front(start + covered));
  }
  run.clear();
}

void ProgramFuser::run() {
  SmallVector<DispatchOp> dispatches(program.getBody().getOps<DispatchOp>());
  // Training has no use for launches of few tokens.
  if (llvm::any_of(dispatches,
                   [&](DispatchOp dispatch) { return kernels.getInfo(dispatch).isForMany; }))
    return;
  Builder b(program.getContext());
  std::string offset = program.getWorkspace().str();
  counter =
      BindingAttr::get(program.getContext(), BindingKind::Workspace, 0, b.getStringAttr(offset),
                       b.getStringAttr(std::to_string(kCounterBytes)));
  SmallVector<Stage> run;
  StringRef tokens;
  for (DispatchOp dispatch : dispatches) {
    StringRef own =
        dispatch.getParams().empty() ? "" : cast<StringAttr>(dispatch.getParams()[0]).getValue();
    if (!run.empty() && hasNoneForFew(dispatch, tokens))
      continue; // has no part in what happens for few tokens
    const KernelInfo &info = kernels.getInfo(dispatch);
    if (!run.empty() && (own != tokens || !info.canBeStage))
      addRun(run);
    if (!info.canBeStage || own.empty() || hasNoneForFew(dispatch, own))
      continue;
    tokens = own;
    run.push_back({dispatch, &info});
  }
  if (!run.empty())
    addRun(run);
  if (launchTokens.empty())
    return;
  std::string clearGrid;
  for (StringRef name : launchTokens) {
    std::string own = isFew(name, kFewTokens);
    clearGrid = clearGrid.empty() ? own : "max(" + clearGrid + "," + own + ")";
  }
  auto first = *program.getBody().getOps<DispatchOp>().begin();
  OpBuilder start(first);
  DispatchOp::create(start, program.getLoc(), FlatSymbolRefAttr::get(kernels.getClear()),
                     start.getStringAttr(clearGrid), start.getArrayAttr({}),
                     start.getArrayAttr({Attribute(counter)}), ArrayAttr());
  program.setWorkspace(offset + "+" + std::to_string(kCounterBytes));
}

namespace {
struct FuseLaunchesPass : mohd::impl::FuseLaunchesPassBase<FuseLaunchesPass> {
  using Base::Base;

  void runOnOperation() override {
    FusedKernels kernels(getOperation());
    for (auto program : getOperation().getOps<ProgramOp>())
      if (program.getSymName() != except)
        ProgramFuser(kernels, program).run();
    numLaunches += kernels.numLaunches;
    numStages += kernels.numStages;
    eraseUnused(kernels);
  }

private:
  /// Erases the kernels that only stages use.
  static void eraseUnused(FusedKernels &kernels) {
    llvm::SmallSet<StringRef, 16> used;
    kernels.module.walk([&](DispatchOp dispatch) { used.insert(dispatch.getKernel()); });
    for (auto &[name, info] : kernels.infos)
      if (info.function && !used.contains(name))
        info.function.erase();
  }
};
} // namespace
