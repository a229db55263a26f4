// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The order in which blocks take a product's tiles, as a kernel in the emulator finds it, and which tiles are chosen.
#include "TileList.h"
#include "EmulatedOp.h"

#include "mohd/Conversion/MoHDToGpu/TileChoice.h"
#include "mohd/Target/GpuTarget.h"

#include "llvm/ADT/STLExtras.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

using namespace mlir;
using namespace mlir::mohd;
using namespace mohdgpu;

namespace {

constexpr int64_t kRows = 128, kThreads = 96;

/// Tiles (first row, position of the first column) in their order, and the numbers of groups of the tiles of rows.
struct Listed {
  std::vector<std::pair<int64_t, int64_t>> tiles;
  std::vector<int> counts;
};

/// The list for products of `numGroups` groups of `groupSize`, with masks at random.
Listed listTiles(bool isSpmm, int64_t numGroups, int64_t groupSize, int64_t columns,
                 int64_t numTokens, int64_t numBlocks, uint64_t seed = 0) {
  const int64_t inner = 640, width = numGroups * groupSize, numWords = (numGroups + 31) / 32;
  const std::string w = std::to_string(width), n = std::to_string(numGroups),
                    g = std::to_string(groupSize), words = std::to_string(numWords);
  const std::string text =
      isSpmm
          ? "func.func @f(%x: tensor<?x" + w + "xbf16>, %w: tensor<640x" + n + "x" + g +
                "xbf16>, %o: tensor<?xi32>, %m: tensor<?x" + words +
                "xi32>) -> tensor<?x640xf32> {\n  %y = mohd.bucket_spmm %x, %w order(%o) masks(%m) "
                "common 1 rows 64 : tensor<?x" +
                w + "xbf16>, tensor<640x" + n + "x" + g +
                "xbf16> order tensor<?xi32> masks tensor<?x" + words +
                "xi32> -> tensor<?x640xf32>\n  return %y : tensor<?x640xf32>\n}\n"
          : "func.func @f(%x: tensor<?x640xbf16>, %w: tensor<" + n + "x" + g +
                "x640xbf16>, %r: !mohd.routing<" + n + ", 1, 1>, %o: tensor<?xi32>, %m: tensor<?x" +
                words + "xi32>) -> tensor<?x" + w +
                "xf32> {\n  %y = mohd.bucket_sddmm %x, %w routing(%r) order(%o) masks(%m) rows 64 "
                ": tensor<?x640xbf16>, tensor<" +
                n + "x" + g + "x640xbf16> routing !mohd.routing<" + n +
                ", 1, 1> order tensor<?xi32> masks tensor<?x" + words + "xi32> -> tensor<?x" + w +
                "xf32>\n  return %y : tensor<?x" + w + "xf32>\n}\n";
  auto emit = [&](GpuKernelSet &kernels, Operation *op) {
    Product product = isSpmm ? Product(kernels, cast<BucketSpmmOp>(op))
                             : Product(kernels, cast<BucketSddmmOp>(op));
    GpuLaunch launch;
    launch.grid = std::to_string(numBlocks);
    launch.threads = kThreads;
    kernels.add("list", launch, [&] {
      GpuEmitter &e = kernels.e();
      TileList list(product, kRows, columns, kThreads);
      list.write();
      e.barrier();
      // The last warp of the last block tells.
      e.when((e.block() == numBlocks - 1) & (e.warp() == kThreads / 32 - 1), [&] {
        e.loop(e.i32(0), list.size(), 1, [&](Term tile) {
          TilePlace place = list.at(tile);
          e.when(e.lane() == 0, [&] {
            Value to = e.advance(kernels.buffer(product.result).pointer, tile * 8);
            e.store(toF32(place.row), to);
            e.store(toF32(place.position), e.advance(to, e.i32(4)));
          });
        });
      });
    });
    return success();
  };
  EmulatedOp op("sm_90a", text, emit);

  const int64_t result = isSpmm ? inner : width, numDown = (numTokens + kRows - 1) / kRows;
  HostTensor x(DType::BF16, {numTokens, isSpmm ? width : inner}),
      weight(DType::BF16, {result, isSpmm ? width : inner}), indices(DType::I32, {numTokens, 2}),
      gates(DType::F32, {numTokens, 2}), order(DType::I32, {numTokens}),
      masks(DType::I32, {numTokens, numWords}), y(DType::F32, {numTokens, result});
  Listed listed;
  std::mt19937 engine{unsigned(seed)};
  for (int64_t tile = 0; tile * 64 < numTokens; ++tile) {
    if (tile % 2 == 0)
      listed.counts.push_back(1);
    std::set<int64_t> groups = {0};
    for (uint32_t i = engine() % 3; i > 0; --i)
      groups.insert(int64_t(engine() % uint64_t(numGroups)));
    for (int64_t word = 0; word < numWords; ++word) {
      uint32_t bits = 0;
      for (int64_t group : groups)
        if (group / 32 == word)
          bits |= 1u << group % 32;
      masks.setAt(tile, word, double(int32_t(bits)));
    }
  }
  for (int64_t down = 0; down < numDown; ++down) {
    int count = 0;
    for (int64_t word = 0; word < numWords; ++word) {
      uint32_t bits = uint32_t(int64_t(masks.at(2 * down, word)));
      if ((2 * down + 1) * 64 < numTokens)
        bits |= uint32_t(int64_t(masks.at(2 * down + 1, word)));
      count += __builtin_popcount(bits);
    }
    listed.counts[size_t(down)] = count;
  }
  std::vector<HostTensor *> tensors = {&x, &weight};
  if (!isSpmm)
    tensors.insert(tensors.end(), {&indices, &gates});
  tensors.insert(tensors.end(), {&order, &masks, &y});
  EXPECT_EQ(op.run({{"T", numTokens}}, tensors, seed), "");
  for (int64_t i = 0; i < numDown * ((result + columns - 1) / columns); ++i)
    listed.tiles.push_back({int64_t(y.get(2 * i)), int64_t(y.get(2 * i + 1))});
  return listed;
}

/// Every tile is there once.
void expectAll(const Listed &listed, int64_t numAcross, int64_t columns) {
  std::set<std::pair<int64_t, int64_t>> all(listed.tiles.begin(), listed.tiles.end());
  EXPECT_EQ(all.size(), listed.tiles.size());
  EXPECT_EQ(all.size(), listed.counts.size() * size_t(numAcross));
  for (auto [row, position] : all) {
    EXPECT_TRUE(row % kRows == 0 && row / kRows < int64_t(listed.counts.size())) << row;
    EXPECT_TRUE(position % columns == 0 && position / columns < numAcross) << position;
  }
}

} // namespace

// Sixteen tiles of rows share their columns at a time: of the groups of a tile no later one has more, and equal ones stay in order.
TEST(TileList, RowsWithMostGroupsComeFirst) {
  for (uint64_t seed : {0, 1, 2}) {
    Listed listed = listTiles(true, 40, 16, 128, 40 * kRows - 5, 7, seed);
    expectAll(listed, 5, 128);
    std::vector<int64_t> rows;
    for (auto [row, position] : listed.tiles)
      if (position == 0)
        rows.push_back(row / kRows);
    std::vector<int64_t> sorted(listed.counts.size());
    std::iota(sorted.begin(), sorted.end(), 0);
    std::stable_sort(sorted.begin(), sorted.end(), [&](int64_t a, int64_t b) {
      return listed.counts[size_t(a)] > listed.counts[size_t(b)];
    });
    EXPECT_EQ(rows, sorted);
    for (size_t i = 0; i < 16 * 5; ++i)
      EXPECT_TRUE(
          llvm::is_contained(ArrayRef(sorted).take_front(16), listed.tiles[i].first / kRows));
  }
}

// Where groups are columns: first the tiles with products, whatever the width of a tile, then those of zeros.
TEST(TileList, TilesOfZerosComeLast) {
  for (auto [numGroups, groupSize, columns] :
       {std::tuple(16, 64, 256), std::tuple(16, 64, 64), std::tuple(40, 24, 128),
        std::tuple(4, 256, 128), std::tuple(64, 64, 64)}) {
    Listed listed = listTiles(false, numGroups, groupSize, columns, 21 * kRows + 1, 5);
    expectAll(listed, (numGroups * groupSize + columns - 1) / columns, columns);
    std::vector<bool> isEmpty;
    for (auto [row, position] : listed.tiles)
      isEmpty.push_back(listed.counts[size_t(row / kRows)] * groupSize <= position);
    EXPECT_TRUE(std::is_sorted(isEmpty.begin(), isEmpty.end()));
    EXPECT_TRUE(isEmpty.back() && !isEmpty.front());
  }
}

// With a block for each tile, or more tiles than are sorted, the order is that of the rows.
TEST(TileList, OtherwiseInOrder) {
  for (bool isSpmm : {true, false})
    for (int64_t numTokens : {int64_t(1), 2 * kRows, 513 * kRows}) {
      Listed listed = listTiles(isSpmm, 16, 16, 256, numTokens, 10);
      expectAll(listed, isSpmm ? 3 : 1, 256);
      for (size_t i = 1; !isSpmm && i < listed.tiles.size(); ++i)
        EXPECT_LT(listed.tiles[i - 1].first, listed.tiles[i].first);
    }
}

//===----------------------------------------------------------------------===//
// Which tiles
//===----------------------------------------------------------------------===//

static GpuInfo gpuOf(const std::string &name) {
  return *parseGpuTargets("cuda:" + name)->front().gpu;
}

// The most tiles of an SM decide: 8192 tokens and 512 columns are 128 tiles of 128 x 256 or 256 of half of that, for 132 SMs.
TEST(TileChoice, CountsTilesOfAnSm) {
  GpuInfo gpu = gpuOf("sm_90a");
  const GpuTile wide = {128, 256}, narrow = {128, 128};
  const double one = estimateCycles(gpu, wide, {256, 4096}, 1);
  EXPECT_EQ(estimateCycles(gpu, wide, {512, 4096}, 8192), one);
  EXPECT_EQ(estimateCycles(gpu, wide, {512, 4096}, 8192 + 3 * 128), 2 * one);
  EXPECT_LT(estimateCycles(gpu, narrow, {512, 4096}, 8192 + 3 * 128),
            estimateCycles(gpu, wide, {512, 4096}, 8192 + 3 * 128));
  EXPECT_GT(estimateCycles(gpu, narrow, {256, 4096}, 1) * 2, one);
}

TEST(TileChoice, RangesCoverAllTokensAndLoseLittle) {
  for (const char *chip : {"sm_80", "sm_90a"}) {
    GpuInfo gpu = gpuOf(chip);
    const std::vector<GpuTile> &candidates = gpu.hasWgmma ? gpu.wgmmaTiles : gpu.mmaTiles;
    for (GpuProductShape shape : {GpuProductShape{5632, 512}, GpuProductShape{512, 5632},
                                  GpuProductShape{28672, 2048}, GpuProductShape{64, 32}}) {
      SmallVector<TileRange> ranges = chooseTiles(gpu, candidates, shape, 16);
      EXPECT_LE(ranges.size(), 12u);
      EXPECT_EQ(ranges.back().lastTokens, TileRange::kNoEnd);
      size_t range = 0;
      for (int64_t tokens = 17; tokens <= 8192; ++tokens) {
        if (ranges[range].lastTokens != TileRange::kNoEnd && tokens > ranges[range].lastTokens)
          ++range;
        double best = INFINITY;
        for (const GpuTile &tile : candidates)
          best = std::min(best, estimateCycles(gpu, tile, shape, tokens));
        EXPECT_LE(estimateCycles(gpu, candidates[ranges[range].tile], shape, tokens), best / 0.919)
            << chip << " " << tokens;
      }
      EXPECT_EQ(range, ranges.size() - 1);
    }
  }
}
