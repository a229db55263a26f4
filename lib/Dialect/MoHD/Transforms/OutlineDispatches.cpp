// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Turns entry points into lists of dispatches of kernels, and places every value in a buffer.
//
//   func.func @f(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
//     %y = mohd.silu %x : tensor<?x64xf32>
//     return %y : tensor<?x64xf32>
//   }
// =>
//   mohd.program @f interface {...} workspace "0" {
//     mohd.dispatch @silu_0 grid "..." params ["T"] bindings [#mohd.binding<input 0, ...>, #mohd.binding<output 0, ...>]
//   }
//   func.func private @silu_0(%bindings: !llvm.ptr, %params: !llvm.ptr, %begin: i64, %end: i64)
//
// Shown by test/Dialect/MoHD/outline-dispatches.mlir.
#include "ProgramLayout.h"

#include "mohd/Conversion/MoHDToGpu/GpuKernels.h"
#include "mohd/Conversion/MoHDToKernels/KernelEmitter.h"
#include "mohd/Target/GpuTarget.h"

#include "mlir/IR/IRMapping.h"

namespace mlir::mohd {
#define GEN_PASS_DEF_OUTLINEDISPATCHESPASS
#include "mohd/Dialect/MoHD/Transforms/Passes.h.inc"
} // namespace mlir::mohd

using namespace mlir;
using namespace mlir::mohd;

namespace {

/// A tensor, or one of the two tensors of a routing (part 0: indices, part 1: gates).
using Part = std::pair<Value, unsigned>;

/// Where a part lives.
struct Storage {
  BindingKind kind;
  int64_t index = 0; // of the input, output or weight; the place in the workspace
};

/// A kernel's view of a part: its type (one layer of a KV cache), and where its bytes are.
struct Operand {
  Part part;
  RankedTensorType type;
  SmallVector<Extent> extents;
  Product offset; // in bytes from the start of the storage; coefficient 0 for none
};

/// A dispatch whose places in the workspace have no offsets yet.
struct PendingDispatch {
  FlatSymbolRefAttr kernel;
  std::string grid;
  SmallVector<Attribute> params;
  ArrayAttr maps; // of a GPU's kernel that has some
  SmallVector<std::pair<Storage, Operand>> bindings;
};

/// The kernels of an op on a GPU, and how many f32 they have as scratch.
struct GpuKernels {
  SmallVector<EmittedKernel> kernels;
  int64_t scratchSize = 0;
};

/// What all programs of a module share.
struct ModuleState {
  OpBuilder builder;
  std::optional<GpuInfo> gpu;             // kernels are for
  llvm::StringMap<func::FuncOp> kernels;  // by everything that they depend on
  llvm::StringMap<GpuKernels> gpuKernels; // the same
  llvm::StringMap<unsigned> numKernelsOfOp;
  SmallVector<Attribute> weights;
};

/// The tensor type of a part with `numTokens` tokens.
RankedTensorType getPartType(Part part) {
  if (auto tensor = dyn_cast<RankedTensorType>(part.first.getType()))
    return tensor;
  auto routing = cast<RoutingType>(part.first.getType());
  return part.second == 0 ? routing.getIndicesType(ShapedType::kDynamic)
                          : routing.getGatesType(ShapedType::kDynamic);
}

/// The parts of a value.
SmallVector<Part> getParts(Value value) {
  if (isa<RoutingType>(value.getType()))
    return {{value, 0}, {value, 1}};
  return {{value, 0}};
}

/// Name of an element type as the manifest writes it, or empty if it has none.
StringRef getDTypeName(Type type) {
  if (type.isF32())
    return "f32";
  if (type.isBF16())
    return "bf16";
  if (type.isF16())
    return "f16";
  if (type.isF64())
    return "f64";
  if (type.isInteger(8))
    return "i8";
  if (type.isInteger(32))
    return "i32";
  if (type.isInteger(64))
    return "i64";
  return "";
}

/// Outlines one function.
class ProgramBuilder {
public:
  ProgramBuilder(func::FuncOp func, ModuleState &module, bool reference, int64_t lanes)
      : func(func), module(module), reference(reference), lanes(lanes) {}

  LogicalResult run();
  unsigned getNumDispatches() const { return dispatches.size(); }

private:
  Part resolve(Part part) const;
  LogicalResult placeInterface();
  LogicalResult checkInPlace(TokenOpInterface op);
  LogicalResult addRanges(TokenOpInterface op);
  void computeLastUses();
  void placeResults(TokenOpInterface op);
  void releaseDead(int64_t position);
  void placeWeight(WeightOp op);
  Operand getOperand(Operation *op, Part part) const;
  LogicalResult addDispatches(TokenOpInterface op);
  std::string nameKernel(Operation *op);
  FailureOr<const GpuKernels *> getGpuKernels(TokenOpInterface op, ArrayRef<Operand> operands,
                                              ArrayRef<Operand> results,
                                              ArrayRef<std::string> params);
  func::FuncOp getKernel(TokenOpInterface op, ArrayRef<Operand> operands, ArrayRef<Operand> results,
                         ArrayRef<std::string> params);
  FailureOr<DictionaryAttr> buildInterface();
  FailureOr<Attribute> describe(StringRef name, RankedTensorType type, ArrayRef<Extent> extents,
                                int argument);
  void emit(DictionaryAttr interface);

  func::FuncOp func;
  ModuleState &module;
  const bool reference;
  const int64_t lanes;
  DimTable dims;
  WorkspacePlan workspace;
  DenseMap<Part, Storage> storage;
  SmallVector<SmallVector<Part>> deadAfter; // by the position of an op
  SmallVector<Part> outputs;
  SmallVector<unsigned> outputResults; // the function result of each output
  llvm::SmallDenseSet<unsigned> mutableInputs;
  std::map<unsigned, SmallVector<std::string>> ranges; // upper bounds of integer inputs
  SmallVector<PendingDispatch> dispatches;
};

} // namespace

/// The part whose storage `part` shares: routings are taken apart and put together in name only, updates happen in place.
Part ProgramBuilder::resolve(Part part) const {
  while (Operation *op = part.first.getDefiningOp()) {
    if (auto unpack = dyn_cast<UnpackRoutingOp>(op))
      part = {unpack.getRouting(), cast<OpResult>(part.first).getResultNumber()};
    else if (auto make = dyn_cast<MakeRoutingOp>(op))
      part = {part.second == 0 ? make.getIndices() : make.getGates(), 0};
    else if (auto tokenOp = dyn_cast<TokenOpInterface>(op);
             tokenOp && tokenOp.getTiedOperand() &&
             cast<OpResult>(part.first).getResultNumber() == 0)
      part = {op->getOperand(*tokenOp.getTiedOperand()), 0};
    else
      break;
  }
  return part;
}

LogicalResult ProgramBuilder::placeInterface() {
  for (BlockArgument argument : func.getArguments())
    storage[{argument, 0}] = {BindingKind::Input, int64_t(argument.getArgNumber())};
  for (OpOperand &operand : func.front().getTerminator()->getOpOperands()) {
    if (isa<RoutingType>(operand.get().getType()))
      return func.emitError("expects results of an entry point to be tensors, got ")
             << operand.get().getType() << " (take it apart with 'mohd.unpack_routing')";
    Part root = resolve({operand.get(), 0});
    bool isUpdated = isa<BlockArgument>(root.first) && !isa<BlockArgument>(operand.get()) &&
                     isa<TokenOpInterface>(operand.get().getDefiningOp()) &&
                     cast<TokenOpInterface>(operand.get().getDefiningOp()).getTiedOperand();
    if (isUpdated)
      continue; // an input updated in place is no output
    if (isa<BlockArgument>(root.first) || isa_and_nonnull<WeightOp>(root.first.getDefiningOp()) ||
        storage.contains(root))
      return func.emitError("expects each result to be computed by an op of its own, got result #")
             << operand.getOperandNumber() << " that is an argument, a weight or another result";
    storage[root] = {BindingKind::Output, int64_t(outputs.size())};
    outputs.push_back(root);
    outputResults.push_back(operand.getOperandNumber());
  }
  return success();
}

LogicalResult ProgramBuilder::checkInPlace(TokenOpInterface op) {
  std::optional<unsigned> tied = op.getTiedOperand();
  if (!tied)
    return success();
  Value operand = op->getOperand(*tied);
  for (Operation *user : operand.getUsers())
    if (user != op && op->isBeforeInBlock(user))
      return op->emitError("expects a value that is updated in place not to be used later, but '")
             << user->getName() << "' uses it";
  Value root = resolve({operand, 0}).first;
  if (isa_and_nonnull<WeightOp>(root.getDefiningOp()))
    return op->emitError("expects a value that is updated in place not to be a weight");
  if (auto argument = dyn_cast<BlockArgument>(root))
    mutableInputs.insert(argument.getArgNumber());
  return success();
}

/// What a table of tokens is of: blocks, groups, common ones and chosen ones of a token.
static std::array<int64_t, 4> describeTable(int64_t block, RoutingType routing) {
  return {block, routing.getNumGroups(), routing.getNumCommon(), routing.getNumChosen()};
}

/// Checks that the table of tokens that `op` reads, if it does, is one that a kernel writes for the same blocks and groups: nobody checks the places in another one.
static LogicalResult checkTable(Operation *op) {
  Value operand;
  std::array<int64_t, 4> expected = {};
  if (auto pack = dyn_cast<PackTokensOp>(op); pack && pack.getTable()) {
    operand = pack.getTable();
    expected = describeTable(pack.getBlock(), pack.getRouting().getType());
  }
  auto describeProduct = [&](auto product) {
    operand = product.getTable();
    expected = {int64_t(product.getBlock()), product.getWeight().getType().getDimSize(0),
                int64_t(product.getNumCommon()), int64_t(product.getNumChosen())};
  };
  if (auto spmm = dyn_cast<TiledSpmmOp>(op))
    describeProduct(spmm);
  if (auto sddmm = dyn_cast<TiledSddmmOp>(op))
    describeProduct(sddmm);
  if (!operand)
    return success();
  auto table = operand.getDefiningOp<GroupTokensOp>();
  if (!table)
    return op->emitError("expects a 'table' that 'mohd.group_tokens' makes, got an argument or "
                         "another op's result");
  std::array<int64_t, 4> got = describeTable(table.getBlock(), table.getRouting().getType());
  if (got != expected)
    return op->emitError("expects a 'table' of [block, groups, common, chosen] [")
           << ArrayRef<int64_t>(expected) << "], got [" << ArrayRef<int64_t>(got) << "]";
  return success();
}

LogicalResult ProgramBuilder::addRanges(TokenOpInterface op) {
  for (const IndexOperand &index : op.getIndexOperands()) {
    auto argument = dyn_cast<BlockArgument>(op->getOperand(index.operand));
    if (!argument)
      return op->emitError(
                 "expects indices to be an argument of the entry point, so that their range "
                 "can be checked, got operand #")
             << index.operand;
    std::string bound =
        index.boundOperand < 0
            ? std::to_string(index.bound)
            : dims.getExtents(op->getOperand(index.boundOperand))[index.boundDim].str();
    SmallVector<std::string> &bounds = ranges[argument.getArgNumber()];
    if (!llvm::is_contained(bounds, bound))
      bounds.push_back(bound);
  }
  return success();
}

/// Sorts the parts that ops make by the op after which they are dead.
void ProgramBuilder::computeLastUses() {
  DenseMap<Part, int64_t> lastUse;
  SmallVector<Part> made;
  for (auto [position, op] : llvm::enumerate(func.front())) {
    for (Value operand : op.getOperands())
      for (Part part : getParts(operand))
        lastUse[resolve(part)] = position;
    for (Value result : op.getResults())
      for (Part part : getParts(result))
        if (resolve(part) == part) {
          lastUse[part] = position; // if nothing uses it
          made.push_back(part);
        }
  }
  deadAfter.resize(func.front().getOperations().size());
  for (Part part : made)
    deadAfter[lastUse.lookup(part)].push_back(part);
}

void ProgramBuilder::placeResults(TokenOpInterface op) {
  for (Value result : op->getResults())
    for (Part part : getParts(result)) {
      if (storage.contains(resolve(part)))
        continue;
      Operand operand = getOperand(op, part);
      int place = workspace.allocate(getByteSize(operand.type, operand.extents));
      storage[part] = {BindingKind::Workspace, place};
    }
}

void ProgramBuilder::releaseDead(int64_t position) {
  for (Part part : deadAfter[position])
    if (const Storage &where = storage.at(part); where.kind == BindingKind::Workspace)
      workspace.release(where.index);
}

void ProgramBuilder::placeWeight(WeightOp op) {
  OpBuilder &b = module.builder;
  NamedAttrList entry;
  entry.append("source", op.getSourceAttr());
  entry.append("type", TypeAttr::get(op.getType()));
  if (op.getExpandedShapeAttr())
    entry.append("expanded_shape", op.getExpandedShapeAttr());
  if (op.getPermutationAttr())
    entry.append("permutation", op.getPermutationAttr());
  if (op.getPanelsAttr())
    entry.append("panels", op.getPanelsAttr());
  if (op.getQuantizedAttr())
    entry.append("quantized", op.getQuantizedAttr());
  Attribute weight = entry.getDictionary(b.getContext());
  auto *known = llvm::find(module.weights, weight);
  storage[{op.getResult(), 0}] = {BindingKind::Weight, known - module.weights.begin()};
  if (known == module.weights.end())
    module.weights.push_back(weight);
}

/// The view that `op`'s kernel has of `part`: of a KV cache, one layer.
Operand ProgramBuilder::getOperand(Operation *op, Part part) const {
  Operand operand;
  operand.part = part;
  operand.type = getPartType(part);
  operand.extents = dims.getExtents(part.first);
  if (isa<RoutingType>(part.first.getType()))
    operand.extents.push_back(Extent{operand.type.getDimSize(1), ""});
  operand.offset.coefficient = 0;
  auto layer = op->getAttrOfType<IntegerAttr>("layer");
  if (layer && operand.type.getRank() == 4) {
    operand.extents[0].value = 1;
    operand.offset = getByteSize(operand.type, operand.extents);
    operand.offset.coefficient *= layer.getInt();
    SmallVector<int64_t> shape(operand.type.getShape());
    shape[0] = 1;
    operand.type = operand.type.clone(shape);
  }
  return operand;
}

/// Text that two ops share exactly if one kernel can serve both.
static std::string getKernelKey(Operation *op, ArrayRef<Operand> operands,
                                ArrayRef<Operand> results, ArrayRef<std::string> params) {
  std::string key;
  llvm::raw_string_ostream os(key);
  NamedAttrList attributes(op->getAttrDictionary());
  attributes.erase("layer");
  os << op->getName() << attributes.getDictionary(op->getContext());
  for (Type type : op->getOperandTypes())
    if (!isa<RankedTensorType>(type))
      os << type;
  // A kernel finds its buffers by the op's operands: those of x + x do not serve x + y.
  for (Value operand : op->getOperands())
    os << '=' << llvm::find(op->getOperands(), operand).getIndex();
  for (const Operand &operand : llvm::concat<const Operand>(operands, results)) {
    os << '|' << operand.type;
    for (const Extent &extent : operand.extents)
      if (!extent.name.empty())
        os << ',' << llvm::find(params, extent.name) - params.begin();
  }
  return key;
}

/// Writes the body of `op`'s kernel at the builder's place in `body`: views of the buffers, the op on them, stores.
static void buildKernelBody(OpBuilder &b, Block *body, TokenOpInterface op,
                            ArrayRef<Operand> operands, ArrayRef<Operand> results,
                            ArrayRef<std::string> params) {
  Location loc = op->getLoc();
  SmallVector<Value> paramValues;
  for (size_t number = 0; number < params.size(); ++number)
    paramValues.push_back(
        tile::ParamOp::create(b, loc, b.getIndexType(), body->getArgument(1), number));
  int64_t numBindings = 0;
  auto bind = [&](const Operand &operand) -> Value {
    SmallVector<Value> sizes;
    for (auto [size, extent] : llvm::zip_equal(operand.type.getShape(), operand.extents))
      if (ShapedType::isDynamic(size)) {
        const auto *param = llvm::find(params, extent.str());
        sizes.push_back(paramValues[param - params.begin()]);
      }
    auto type = MemRefType::get(operand.type.getShape(), operand.type.getElementType());
    return tile::BindingOp::create(b, loc, type, body->getArgument(0), numBindings++, sizes);
  };

  SmallVector<Value> views; // of the operands
  IRMapping mapping;
  std::optional<unsigned> tied = op.getTiedOperand();
  const Operand *next = operands.begin();
  for (OpOperand &operand : op->getOpOperands()) {
    SmallVector<Value> tensors;
    for (size_t part = 0; part < getParts(operand.get()).size(); ++part, ++next) {
      views.push_back(bind(*next));
      bool writable = tied == operand.getOperandNumber();
      tensors.push_back(bufferization::ToTensorOp::create(b, loc, next->type, views.back(),
                                                          /*restrict=*/true, writable));
    }
    Value value = tensors.front();
    if (isa<RoutingType>(operand.get().getType()))
      value = MakeRoutingOp::create(b, loc, operand.get().getType(), tensors[0], tensors[1]);
    mapping.map(operand.get(), value);
  }
  Operation *clone = b.clone(*op, mapping);
  if (clone->hasAttr("layer"))
    clone->setAttr("layer", b.getI64IntegerAttr(0));
  if (tied)
    clone->getResult(0).setType(clone->getOperand(*tied).getType());
  next = results.begin();
  for (OpResult result : clone->getResults()) {
    SmallVector<Value> tensors = {result};
    if (isa<RoutingType>(result.getType())) {
      auto unpack = UnpackRoutingOp::create(b, loc, TypeRange{next[0].type, next[1].type}, result);
      tensors.assign(unpack->result_begin(), unpack->result_end());
    }
    for (Value tensor : tensors) {
      bool inPlace = tied && result.getResultNumber() == 0;
      Value view = inPlace ? views[*tied] : bind(*next++);
      bufferization::MaterializeInDestinationOp::create(b, loc, Type(), tensor, view,
                                                        /*restrict=*/b.getUnitAttr(),
                                                        /*writable=*/b.getUnitAttr());
    }
  }
  func::ReturnOp::create(b, loc);
}

std::string ProgramBuilder::nameKernel(Operation *op) {
  StringRef mnemonic = op->getName().stripDialect();
  std::string name;
  do // a function of the module may have such a name already
    name = (mnemonic + "_" + Twine(module.numKernelsOfOp[mnemonic]++)).str();
  while (SymbolTable::lookupSymbolIn(func->getParentOp(), name));
  return name;
}

/// The name that a param has in the launches of kernels, which serve dispatches with different params.
static std::string nameParam(size_t number) { return "p" + std::to_string(number); }

/// `expression` over params' names as one over what a dispatch's `params` are.
static std::string substituteParams(StringRef expression, ArrayRef<std::string> params) {
  std::string result;
  while (!expression.empty()) {
    StringRef word = expression.take_while([](char c) { return llvm::isAlnum(c) || c == '_'; });
    expression = expression.drop_front(word.size());
    size_t number;
    StringRef digits = word;
    bool isParam = digits.consume_front("p") && !digits.getAsInteger(10, number);
    result += isParam ? params[number] : word.str();
    if (word.empty()) {
      result += expression.front();
      expression = expression.drop_front();
    }
  }
  return result;
}

/// The kernels of `op` on a GPU, made if need be.
FailureOr<const GpuKernels *> ProgramBuilder::getGpuKernels(TokenOpInterface op,
                                                            ArrayRef<Operand> operands,
                                                            ArrayRef<Operand> results,
                                                            ArrayRef<std::string> params) {
  auto [known, isNew] = module.gpuKernels.try_emplace(getKernelKey(op, operands, results, params));
  if (!isNew)
    return &known->second;
  SmallVector<std::string> names;
  for (size_t number = 0; number < params.size(); ++number)
    names.push_back(nameParam(number));
  SmallVector<GpuBinding> bindings;
  for (const Operand &operand : llvm::concat<const Operand>(operands, results)) {
    GpuBinding &binding = bindings.emplace_back();
    binding.type = operand.type;
    for (const Extent &extent : operand.extents)
      binding.extents.push_back(extent.name.empty()
                                    ? extent.str()
                                    : names[llvm::find(params, extent.name) - params.begin()]);
  }
  OpBuilder &b = module.builder;
  OpBuilder::InsertionGuard guard(b);
  GpuKernelSet kernels(b, op, bindings, names, nameKernel(op), *module.gpu);
  if (failed(emitGpuKernels(kernels)))
    return failure();
  known->second = {SmallVector<EmittedKernel>(kernels.getKernels()), kernels.getScratchSize()};
  return &known->second;
}

/// A launch's tensor maps, for a dispatch with `params`.
static ArrayAttr describeMaps(OpBuilder &b, const GpuLaunch &launch, ArrayRef<std::string> params) {
  auto getTexts = [&](ArrayRef<std::string> expressions) {
    SmallVector<Attribute> texts;
    for (const std::string &expression : expressions)
      texts.push_back(b.getStringAttr(substituteParams(expression, params)));
    return b.getArrayAttr(texts);
  };
  auto getSwizzle = [](tile::Swizzle swizzle) -> int64_t {
    switch (swizzle) {
    case tile::Swizzle::None:
      return 0;
    case tile::Swizzle::Swizzle32:
      return 32;
    case tile::Swizzle::Swizzle64:
      return 64;
    case tile::Swizzle::Swizzle128:
      return 128;
    }
    llvm_unreachable("all swizzles are known");
  };
  SmallVector<Attribute> maps;
  for (const GpuTensorMap &map : launch.maps)
    maps.push_back(TensorMapAttr::get(b.getContext(), map.binding, map.element,
                                      getTexts(map.extents), getTexts(map.strides),
                                      b.getDenseI64ArrayAttr(map.box), getSwizzle(map.swizzle)));
  return maps.empty() ? ArrayAttr() : b.getArrayAttr(maps);
}

func::FuncOp ProgramBuilder::getKernel(TokenOpInterface op, ArrayRef<Operand> operands,
                                       ArrayRef<Operand> results, ArrayRef<std::string> params) {
  func::FuncOp &kernel = module.kernels[getKernelKey(op, operands, results, params)];
  if (kernel)
    return kernel;
  OpBuilder &b = module.builder;
  OpBuilder::InsertionGuard guard(b);
  std::string name = nameKernel(op);
  Type pointer = LLVM::LLVMPointerType::get(b.getContext()), i64 = b.getI64Type();
  kernel = func::FuncOp::create(b, op->getLoc(), name,
                                b.getFunctionType({pointer, pointer, i64, i64}, {}));
  kernel.setPrivate();
  kernel->setAttr(kKernelAttr, b.getUnitAttr());
  Block *body = kernel.addEntryBlock();
  b.setInsertionPointToStart(body);
  buildKernelBody(b, body, op, operands, results, params);
  return kernel;
}

LogicalResult ProgramBuilder::addDispatches(TokenOpInterface op) {
  SmallVector<Operand> operands, results;
  for (Value operand : op->getOperands())
    for (Part part : getParts(operand))
      operands.push_back(getOperand(op, part));
  for (OpResult result : op->getResults())
    if (!(op.getTiedOperand() && result.getResultNumber() == 0))
      for (Part part : getParts(result))
        results.push_back(getOperand(op, part));

  SmallVector<std::string> params = {dims.getTokens(op).str()};
  for (const Operand &operand : llvm::concat<Operand>(operands, results))
    for (auto [size, extent] : llvm::zip_equal(operand.type.getShape(), operand.extents))
      if (ShapedType::isDynamic(size) && !llvm::is_contained(params, extent.str()))
        params.push_back(extent.str());

  auto add = [&](Operation *kernel, std::string grid, ArrayAttr maps) {
    PendingDispatch &dispatch = dispatches.emplace_back();
    dispatch.kernel = FlatSymbolRefAttr::get(kernel);
    dispatch.grid = std::move(grid);
    dispatch.maps = maps;
    for (const std::string &param : params)
      dispatch.params.push_back(module.builder.getStringAttr(param));
    for (const Operand &operand : llvm::concat<Operand>(operands, results))
      dispatch.bindings.push_back({storage.at(resolve(operand.part)), operand});
  };
  if (!module.gpu) {
    add(getKernel(op, operands, results, params),
        reference ? "1" : getKernelGrid(op, lanes, params.front()), ArrayAttr());
    return success();
  }
  FailureOr<const GpuKernels *> kernels = getGpuKernels(op, operands, results, params);
  if (failed(kernels))
    return failure();
  Operand scratch;
  int64_t size = (*kernels)->scratchSize;
  scratch.type = RankedTensorType::get({size}, module.builder.getF32Type());
  scratch.extents = {Extent{size, ""}};
  scratch.offset.coefficient = 0;
  Storage place = {BindingKind::Workspace, 0};
  if (size > 0)
    place.index = workspace.allocate(getByteSize(scratch.type, scratch.extents));
  for (const EmittedKernel &kernel : (*kernels)->kernels) {
    add(kernel.function, substituteParams(kernel.launch.grid, params),
        describeMaps(module.builder, kernel.launch, params));
    if (size > 0)
      dispatches.back().bindings.push_back({place, scratch});
  }
  if (size > 0)
    workspace.release(int(place.index));
  return success();
}

FailureOr<Attribute> ProgramBuilder::describe(StringRef name, RankedTensorType type,
                                              ArrayRef<Extent> extents, int argument) {
  OpBuilder &b = module.builder;
  StringRef dtype = getDTypeName(type.getElementType());
  if (dtype.empty())
    return func.emitError(
               "expects elements f32, bf16, f16, f64, i8, i32 or i64 in the interface, got ")
           << type.getElementType();
  SmallVector<Attribute> shape;
  for (const Extent &extent : extents)
    shape.push_back(b.getStringAttr(extent.str()));
  NamedAttrList entry;
  entry.append("name", b.getStringAttr(name));
  entry.append("dtype", b.getStringAttr(dtype));
  entry.append("shape", b.getArrayAttr(shape));
  if (auto bounds = ranges.find(argument); bounds != ranges.end()) {
    std::string high = bounds->second.front();
    for (StringRef bound : ArrayRef(bounds->second).drop_front())
      high = ("min(" + high + "," + bound + ")").str();
    entry.append("range", b.getStrArrayAttr({"0", high}));
  }
  if (argument >= 0 && mutableInputs.contains(argument))
    entry.append("mutable", b.getBoolAttr(true));
  return Attribute(entry.getDictionary(b.getContext()));
}

FailureOr<DictionaryAttr> ProgramBuilder::buildInterface() {
  OpBuilder &b = module.builder;
  SmallVector<Attribute> inputs, results;
  auto getName = [](StringAttr given, StringRef kind, int number) {
    return given ? given.str() : (kind + Twine(number)).str();
  };
  for (BlockArgument argument : func.getArguments()) {
    int number = argument.getArgNumber();
    FailureOr<Attribute> entry =
        describe(getName(func.getArgAttrOfType<StringAttr>(number, kNameAttr), "arg", number),
                 cast<RankedTensorType>(argument.getType()), dims.getExtents(argument), number);
    if (failed(entry))
      return failure();
    inputs.push_back(*entry);
  }
  for (auto [number, part] : llvm::enumerate(outputs)) {
    Operand operand = getOperand(part.first.getDefiningOp(), part);
    FailureOr<Attribute> entry =
        describe(getName(func.getResultAttrOfType<StringAttr>(outputResults[number], kNameAttr),
                         "result", number),
                 operand.type, operand.extents, -1);
    if (failed(entry))
      return failure();
    results.push_back(*entry);
  }
  SmallVector<StringRef> names(dims.getNames().begin(), dims.getNames().end());
  NamedAttrList interface;
  interface.append("dims", b.getStrArrayAttr(names));
  interface.append("inputs", b.getArrayAttr(inputs));
  interface.append("outputs", b.getArrayAttr(results));
  return interface.getDictionary(b.getContext());
}

void ProgramBuilder::emit(DictionaryAttr interface) {
  OpBuilder &b = module.builder;
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(func);
  Location loc = func.getLoc();
  auto program = ProgramOp::create(b, loc, func.getSymName(), interface, workspace.getSize());
  b.setInsertionPointToStart(&program.getBody().emplaceBlock());
  for (const PendingDispatch &dispatch : dispatches) {
    SmallVector<Attribute> bindings;
    for (const auto &[where, operand] : dispatch.bindings) {
      bool inWorkspace = where.kind == BindingKind::Workspace;
      std::string offset = inWorkspace                       ? workspace.getOffset(where.index)
                           : operand.offset.coefficient == 0 ? "0"
                                                             : operand.offset.str();
      bindings.push_back(BindingAttr::get(
          b.getContext(), where.kind, inWorkspace ? 0 : where.index, b.getStringAttr(offset),
          b.getStringAttr(getByteSize(operand.type, operand.extents).str())));
    }
    DispatchOp::create(b, loc, dispatch.kernel, b.getStringAttr(dispatch.grid),
                       b.getArrayAttr(dispatch.params), b.getArrayAttr(bindings), dispatch.maps);
  }
}

LogicalResult ProgramBuilder::run() {
  if (!func.getBody().hasOneBlock())
    return func.emitError("expects an entry point of one block");
  if (failed(dims.build(func)) || failed(placeInterface()))
    return failure();
  computeLastUses();
  for (auto [position, op] : llvm::enumerate(func.front().without_terminator())) {
    if (auto weight = dyn_cast<WeightOp>(op)) {
      placeWeight(weight);
      continue;
    }
    auto tokenOp = dyn_cast<TokenOpInterface>(op);
    if (!tokenOp)
      return op.emitError("expects only ops of the mohd dialect in an entry point, got '")
             << op.getName() << "'";
    if (failed(checkTable(tokenOp)) || failed(addRanges(tokenOp)) || failed(checkInPlace(tokenOp)))
      return failure();
    if (!isa<MakeRoutingOp, UnpackRoutingOp>(op)) {
      placeResults(tokenOp);
      if (failed(addDispatches(tokenOp)))
        return failure();
    }
    releaseDead(position);
  }
  FailureOr<DictionaryAttr> interface = buildInterface();
  if (failed(interface))
    return failure();
  emit(*interface);
  return success();
}

namespace {
struct OutlineDispatchesPass : mohd::impl::OutlineDispatchesPassBase<OutlineDispatchesPass> {
  using Base::Base;

  void runOnOperation() override {
    ModuleState state{OpBuilder::atBlockEnd(getOperation().getBody()), {}, {}, {}, {}, {}};
    if (!chip.empty()) {
      ::mohdrt::Result<std::vector<TargetInfo>> targets = parseGpuTargets("cuda:" + chip);
      if (!targets.ok()) {
        getOperation().emitError() << targets.status().message();
        return signalPassFailure();
      }
      state.gpu = targets->front().gpu;
    }
    SmallVector<func::FuncOp> entryPoints;
    for (auto func : getOperation().getOps<func::FuncOp>())
      if (func.isPublic() && !func.isDeclaration())
        entryPoints.push_back(func);
    for (func::FuncOp func : entryPoints) {
      ProgramBuilder program(func, state, reference, lanes);
      if (failed(program.run()))
        return signalPassFailure();
      numDispatches += program.getNumDispatches();
      func.erase();
    }
    numKernels += state.kernels.size();
    for (const auto &kernels : state.gpuKernels)
      numKernels += kernels.second.kernels.size();
    getOperation()->setAttr(kWeightsAttr, ArrayAttr::get(&getContext(), state.weights));
  }
};
} // namespace
