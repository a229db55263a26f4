// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The symbolic side of scheduling: which dynamic dimensions are equal, sizes as expressions, and places in the workspace.
#ifndef MOHD_LIB_DIALECT_MOHD_TRANSFORMS_PROGRAMLAYOUT_H
#define MOHD_LIB_DIALECT_MOHD_TRANSFORMS_PROGRAMLAYOUT_H

#include "mohd/Dialect/MoHD/Transforms/Passes.h"

#include <map>

namespace mlir::mohd {

/// An extent of a program: a number, or the name of a dim.
struct Extent {
  int64_t value = 0;
  std::string name; // empty for a number

  /// As docs/formats.md writes it in an expression.
  std::string str() const { return name.empty() ? std::to_string(value) : name; }
};

/// coefficient * product of dims.
struct Product {
  int64_t coefficient = 1;
  std::vector<std::string> dims; // sorted

  Product &operator*=(const Extent &extent);
  Product &operator*=(int64_t factor);
  /// The product of the dims alone, "1" if there is none.
  std::string dimsKey() const;
  std::string str() const;
};

/// Bytes of a tensor of `type` whose extents are `extents`.
Product getByteSize(RankedTensorType type, ArrayRef<Extent> extents);

/// The extents of every tensor and routing of a function. Dynamic dimensions that the ops require to be equal have one name.
class DimTable {
public:
  /// Analyses `func`; emits an error and fails if sizes contradict each other.
  LogicalResult build(func::FuncOp func);

  /// All extents of a tensor.
  SmallVector<Extent> getExtents(Value tensor) const;
  /// The token count of a token op.
  Extent getTokens(TokenOpInterface op) const;
  /// Names of the dims that are not numbers, in order of first appearance.
  ArrayRef<std::string> getNames() const { return names; }

private:
  int newClass();
  int find(int node) const;
  LogicalResult unify(Operation *op, int lhs, int rhs);
  LogicalResult bind(Operation *op, int node, int64_t size);
  LogicalResult addArguments(func::FuncOp func);
  LogicalResult addOp(Operation *op);
  void nameClasses(func::FuncOp func);

  /// The class of each dimension of a tensor; a routing has one, its token count.
  DenseMap<Value, SmallVector<int>> classes;
  mutable std::vector<int> parent;
  std::vector<int64_t> bound;         // of a representative: its number, or -1
  std::vector<std::string> className; // of a representative
  std::map<std::string, int> given;   // classes that arguments name
  std::vector<std::string> names;
};

/// Gives intermediate values places in the workspace. Places are multiples of 64 bytes for any value of the dims, as each is
/// `dims * bytes` with bytes rounded up to 64.
class WorkspacePlan {
public:
  /// Takes a place of at least `size` bytes; returns its number.
  int allocate(const Product &size);
  /// Gives a place back.
  void release(int place);
  /// Expression of a place's offset; to be asked only when all places have been taken.
  std::string getOffset(int place) const;
  /// Expression of the whole size in bytes.
  std::string getSize() const;

private:
  struct Place {
    Product size;
    bool free = false;
  };
  std::vector<Place> places;
};

} // namespace mlir::mohd

#endif // MOHD_LIB_DIALECT_MOHD_TRANSFORMS_PROGRAMLAYOUT_H
