// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// wgmma: operations queue up as threads issue them, and run when the warpgroup waits for them: then
// operands are read and sums written, the latest legal time.
#include "wgmma.h"
#include "agents.h"
#include "operations_impl.h"

#include "mohd/format/float16.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

namespace mohdemu {

namespace {

/// A matrix in shared memory, as a descriptor says: bits 0-13 start, 16-29 leading byte offset, 32-45
/// stride byte offset, all of them over 16; 49-51 base offset; 62-63 swizzle.
struct Matrix {
  uint32_t start, leading, stride, mode;
  bool isTransposed; // rows of the other dimension than K follow each other in memory

  Matrix(uint64_t bits, bool transposed)
      : start((bits & 0x3fff) << 4), leading((bits >> 16 & 0x3fff) << 4),
        stride((bits >> 32 & 0x3fff) << 4), mode((4 - (bits >> 62)) & 3), isTransposed(transposed) {
  }

  /// The shared offset of the piece of 8 elements that holds (mn, k), before the swizzle. Pieces run
  /// along K, or along M or N if transposed; a swizzled row has 1 << mode of them.
  uint32_t pieceOf(uint32_t mn, uint32_t k) const {
    const uint32_t row = 16u << mode;
    if (!isTransposed) // K: core matrices of 8 rows
      return start + mn % 8 * row + mn / 8 * stride + k / 8 * (mode ? 16 : leading);
    if (!mode)
      return start + k % 8 * 16 + mn / 8 * stride + k / 8 * leading;
    const uint32_t pieces = 1u << mode;
    return start + mn / 8 % pieces * 16 + mn / 8 / pieces * leading + k % 8 * row + k / 8 * stride;
  }
};

float widen(uint32_t kind, uint16_t bits) {
  return kind == MOHD_EMU_MMA_BF16 ? mohdrt::widenBf16(bits) : mohdrt::widenF16(bits);
}

/// Runs the operations of one wait. The sums of a chain of operations stay in a matrix.
class WgmmaRun {
public:
  WgmmaRun(Block &block, Warpgroup &group) : block_(block), group_(group) {}

  void run(WgmmaOp &op) {
    op_ = &op;
    clock_ = block_.joiner.meetAll(op.clocks);
    if (!sumsOf_ || !std::equal(op.sums, op.sums + kWarpgroup, sumsOf_->sums) || sumsOf_->n != op.n)
      load();
    sumsOf_ = &op;
    if (!op.accumulates)
      for (auto &row : sums)
        std::fill_n(row, op.n, 0.0f);
    if (op.aInRegisters)
      readRegisters();
    else
      readMatrix(Matrix(op.a, op.aTransposed), kWgmmaM,
                 [&](uint32_t m, uint32_t k) -> float & { return a[m][k]; });
    readMatrix(Matrix(op.b, op.bTransposed), op.n,
               [&](uint32_t n, uint32_t k) -> float & { return b[k][n]; });
    multiplyTile(sums, a, b, op.n);
  }

  /// Writes the sums to the threads.
  void flush() {
    if (sumsOf_)
      forEachSum([](float *registers, float *tile) { std::copy_n(tile, 2, registers); });
    sumsOf_ = nullptr;
  }

private:
  void load() {
    flush();
    sumsOf_ = op_;
    forEachSum([](float *registers, float *tile) { std::copy_n(registers, 2, tile); });
  }

  /// Pairs of sums: visit(in the thread's registers, in the matrix).
  template <typename Visit> void forEachSum(Visit visit) {
    const uint32_t words = sumsOf_->n / 2;
    for (uint32_t thread = 0; thread < kWarpgroup; ++thread) {
      float *registers = sumsOf_->sums[thread];
      const uint32_t row = thread / 32 * 16 + thread % 32 / 4, column = thread % 4 * 2;
      for (uint32_t i = 0; i < words; i += 2)
        visit(registers + i, &sums[row + i / 2 % 2 * 8][column + i / 4 * 8]);
    }
  }

  void readRegisters() {
    for (uint32_t thread = 0; thread < kWarpgroup; ++thread) {
      if (std::memcmp(op_->words[thread], op_->copies[thread], 16) != 0)
        block_.report(ErrorKind::WgmmaOperand, op_->site,
                      text("expects registers of operand a to be left alone until the wait, got a "
                           "change in thread ",
                           block_.threadName(group_.index * kWarpgroup + thread)));
      const uint32_t row = thread / 32 * 16 + thread % 32 / 4, column = thread % 4 * 2;
      for (uint32_t word = 0; word < 4; ++word)
        for (uint32_t half = 0; half < 2; ++half)
          a[row + word % 2 * 8][column + word / 2 * 8 + half] =
              widen(op_->kind, static_cast<uint16_t>(op_->words[thread][word] >> 16 * half));
    }
  }

  /// Reads `extent` x 16 elements to element(mn, k).
  template <typename Element>
  void readMatrix(const Matrix &matrix, uint32_t extent, Element element) {
    const Access access{&clock_,
                        makeEpoch(warpgroupAgent(block_.threadCount, group_.index), group_.clock),
                        block_.siteNumber(op_->site), true};
    Conflict first;
    const uint32_t mnStep = matrix.isTransposed ? 8 : 1, kStep = matrix.isTransposed ? 1 : 8;
    for (uint32_t k = 0; k < kWgmmaK; k += kStep)
      for (uint32_t mn = 0; mn < extent; mn += mnStep) {
        const uint32_t offset = swizzle(matrix.pieceOf(mn, k), matrix.mode);
        if (offset + 16 > block_.sharedBytes)
          block_.fail(ErrorKind::Bounds, op_->site,
                      text("expects an operand within ", block_.sharedBytes,
                           " shared bytes, got 16 bytes at shared offset ", offset));
        const Conflict conflict = block_.arena.shadow.read(offset, 16, access);
        if (first.kind == Conflict::None)
          first = conflict;
        uint16_t piece[8];
        std::memcpy(piece, block_.arena.window + offset, 16);
        for (uint32_t i = 0; i < 8; ++i)
          element(mn + i * (mnStep == 8), k + i * (kStep == 8)) = widen(op_->kind, piece[i]);
      }
    block_.reportConflict(first, access, "wgmma", op_->site);
  }

  Block &block_;
  Warpgroup &group_;
  WgmmaOp *op_ = nullptr, *sumsOf_ = nullptr;
  Clock clock_;
  alignas(64) float sums[kWgmmaM][kWgmmaMaxN];
  alignas(64) float a[kWgmmaM][kWgmmaK];
  alignas(64) float b[kWgmmaK][kWgmmaMaxN];
};

Warpgroup &currentWarpgroup(Block &block, const char *site) {
  const uint32_t index = block.current().index / kWarpgroup;
  if (index >= block.warpgroups.size())
    block.fail(
        ErrorKind::Divergence, site,
        text("expects a warpgroup of 128 threads, got one of ", block.threadCount % kWarpgroup));
  return *block.warpgroups[index];
}

void checkDescriptor(Block &block, uint64_t bits, const char *which, const char *site) {
  if (bits >> 49 & 7)
    block.fail(
        ErrorKind::Descriptor, site,
        text("expects base offset 0 in the descriptor of ", which, ", got ", bits >> 49 & 7));
  const uint64_t unused =
      (uint64_t(3) << 14) | (uint64_t(3) << 30) | (uint64_t(7) << 46) | (uint64_t(0x3ff) << 52);
  if (bits & unused)
    block.fail(ErrorKind::Descriptor, site,
               text("expects bits that are not used to be 0 in the descriptor of ", which,
                    ", got 0x", std::hex, bits));
}

bool isSame(const WgmmaCall &a, const WgmmaCall &b) {
  return a.kind == b.kind && a.n == b.n && a.a == b.a && a.b == b.b &&
         a.aInRegisters == b.aInRegisters && a.aTransposed == b.aTransposed &&
         a.bTransposed == b.bTransposed && a.accumulates == b.accumulates &&
         (a.site == b.site || std::strcmp(a.site, b.site) == 0);
}

/// The operation that the current thread issues, which others of the warpgroup may have issued.
WgmmaOp &issue(Block &block, Warpgroup &group, const WgmmaCall &issued) {
  Thread &thread = block.current();
  const uint64_t index = thread.wgmmaIssued - group.firstOp;
  if (index == group.ops.size()) {
    std::unique_ptr<WgmmaOp> op;
    if (group.spare.empty()) {
      op = std::make_unique<WgmmaOp>();
    } else {
      op = std::move(group.spare.back());
      group.spare.pop_back();
    }
    static_cast<WgmmaCall &>(*op) = issued;
    group.ops.push_back(std::move(op));
  }
  WgmmaOp &op = *group.ops[index];
  if (!isSame(op, issued))
    block.fail(ErrorKind::Divergence, issued.site,
               text("expects all threads of a warpgroup to issue one wgmma, got n ", issued.n,
                    " and descriptors 0x", std::hex, issued.a, ", 0x", issued.b,
                    " while others issue n ", std::dec, op.n, std::hex, ", 0x", op.a, ", 0x", op.b,
                    " (", op.site, ")"));
  ++thread.wgmmaIssued;
  return op;
}

/// Of many threads in a row that know the same, meetAll needs only two.
void addClock(std::vector<Clock> &clocks, const Clock &clock) {
  const size_t size = clocks.size();
  if (size >= 2 && clocks[size - 1].base == clock.base && clocks[size - 2].base == clock.base)
    clocks.back() = clock;
  else
    clocks.push_back(clock);
}

void checkFence(Block &block, const void *registers, size_t bytes, const char *site) {
  Thread &thread = block.current();
  const char *begin = static_cast<const char *>(registers);
  bool isTouched = !thread.wgmmaFenced;
  for (const auto &[address, size] : thread.touched)
    isTouched |= address < begin + bytes && begin < address + size;
  if (isTouched)
    block.report(
        ErrorKind::WgmmaFence, site,
        text("expects wgmma fence between other uses of its registers and wgmma, got none"));
}

/// Runs all groups but the last `pending`, when all threads of the warpgroup have come.
void runGroups(Block &block, Warpgroup &group, const char *site) {
  const Thread &first = block.threads[group.index * kWarpgroup];
  for (uint32_t i = 1; i < kWarpgroup; ++i) {
    const Thread &thread = block.threads[group.index * kWarpgroup + i];
    if (thread.wgmmaIssued == first.wgmmaIssued && thread.wgmmaGroups == first.wgmmaGroups)
      continue;
    std::string message =
        text("expects all threads of a warpgroup to issue as many wgmma and commit as many groups, "
             "got ",
             first.wgmmaIssued, " and ", first.wgmmaGroups, " of thread ",
             block.threadName(first.index), ", ", thread.wgmmaIssued, " and ", thread.wgmmaGroups,
             " of thread ", block.threadName(thread.index));
    block.fail(ErrorKind::Divergence, site, std::move(message));
  }
  if (group.ends.size() <= group.pending)
    return;
  const uint64_t end = group.ends[group.ends.size() - group.pending - 1];
  ++group.clock;
  // Too large for a fiber's stack, and for the storage that every thread of a program has.
  using Memory = std::aligned_storage_t<sizeof(WgmmaRun), alignof(WgmmaRun)>;
  static thread_local std::unique_ptr<Memory> memory;
  if (!memory)
    memory = std::make_unique<Memory>();
  WgmmaRun &run = *new (memory.get()) WgmmaRun(block, group);
  for (; group.firstOp < end; ++group.firstOp) {
    run.run(*group.ops.front());
    group.spare.push_back(std::move(group.ops.front()));
    group.spare.back()->clocks.clear();
    group.ops.pop_front();
  }
  run.flush();
  run.~WgmmaRun();
  while (group.ends.size() > group.pending) {
    group.ends.pop_front();
    ++group.firstGroup;
  }
  const uint32_t agent = warpgroupAgent(block.threadCount, group.index);
  for (uint32_t i = 0; i < kWarpgroup; ++i) {
    Clock &clock = block.threads[group.index * kWarpgroup + i].clock;
    clock.base = block.joiner.withAgent(clock.base, agent, group.clock);
  }
}

} // namespace

namespace ops {

void wgmma(uint32_t kind, uint32_t n, uint64_t a, const void *a_words, uint64_t b,
           uint32_t a_transposed, uint32_t b_transposed, uint32_t accumulates, void *sums,
           const char *site) {
  Block &block = currentBlock();
  Warpgroup &group = currentWarpgroup(block, site);
  if (kind > MOHD_EMU_MMA_F16 || n < 8 || n > kWgmmaMaxN || n % 8 != 0)
    block.fail(
        ErrorKind::Argument, site,
        text("expects bf16 or f16 and n a multiple of 8 up to 256, got kind ", kind, ", n ", n));
  if (!a_words)
    checkDescriptor(block, a, "a", site);
  checkDescriptor(block, b, "b", site);
  WgmmaCall issued;
  issued.kind = kind;
  issued.n = n;
  issued.a = a_words ? 0 : a;
  issued.b = b;
  issued.aInRegisters = a_words;
  issued.aTransposed = a_transposed;
  issued.bTransposed = b_transposed;
  issued.accumulates = accumulates;
  issued.site = site;
  checkFence(block, sums, n * 2, site);
  if (a_words)
    checkFence(block, a_words, 16, site);
  WgmmaOp &op = issue(block, group, issued);
  const uint32_t index = block.current().index % kWarpgroup;
  op.sums[index] = static_cast<float *>(sums);
  op.words[index] = static_cast<const uint32_t *>(a_words);
  if (a_words)
    std::memcpy(op.copies[index], a_words, 16);
  addClock(op.clocks, block.current().clock.close());
}

void wgmma_fence(const char *site) {
  Block &block = currentBlock();
  currentWarpgroup(block, site);
  block.current().wgmmaFenced = true;
  block.current().touched.clear();
}

void wgmma_commit(const char *site) {
  Block &block = currentBlock();
  Warpgroup &group = currentWarpgroup(block, site);
  Thread &thread = block.current();
  const uint64_t index = thread.wgmmaGroups - group.firstGroup;
  if (index == group.ends.size())
    group.ends.push_back(thread.wgmmaIssued);
  if (group.ends[index] != thread.wgmmaIssued)
    block.fail(ErrorKind::Divergence, site,
               text("expects all threads of a warpgroup to commit the same wgmma, got ",
                    thread.wgmmaIssued, " while others commit ", group.ends[index]));
  ++thread.wgmmaGroups;
}

void wgmma_wait(uint32_t pending, const char *site) {
  Block &block = currentBlock();
  Warpgroup &group = currentWarpgroup(block, site);
  if (group.waiting && group.pending != pending)
    block.fail(ErrorKind::Divergence, site,
               text("expects all threads of a warpgroup to wait for the same groups, got ", pending,
                    " pending while others have ", group.pending, " (", group.waitSite, ")"));
  group.pending = pending;
  group.waitSite = site;
  if (++group.waiting < kWarpgroup) {
    block.suspend({Op::WgmmaWait, 0, pending, site});
    return;
  }
  group.waiting = 0;
  runGroups(block, group, site);
  for (uint32_t i = 0; i < kWarpgroup; ++i) {
    Thread &thread = block.threads[group.index * kWarpgroup + i];
    if (&thread != &block.current())
      block.wake(thread);
  }
}

void wgmma_check(const void *sums, uint32_t bytes, const char *site) {
  Block &block = currentBlock();
  Warpgroup &group = currentWarpgroup(block, site);
  Thread &thread = block.current();
  const char *begin = static_cast<const char *>(sums);
  for (uint64_t i = group.firstOp; i < thread.wgmmaIssued; ++i) {
    const WgmmaOp &op = *group.ops[i - group.firstOp];
    const char *used = reinterpret_cast<const char *>(op.sums[thread.index % kWarpgroup]);
    if (used < begin + bytes && begin < used + op.n * 2)
      block.report(
          ErrorKind::WgmmaOperand, site,
          text("expects sums to be left alone until the wait, got a use before the wait for "
               "wgmma (",
               op.site, ")"));
  }
  const std::pair<const char *, size_t> range(begin, bytes);
  if (thread.touched.empty() || thread.touched.back() != range)
    thread.touched.push_back(range);
}

} // namespace ops

} // namespace mohdemu
