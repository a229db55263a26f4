// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tiles of tensors between global and shared memory. A load ends at some time after its issue, at
// the latest when nothing else can go on; a store reads at the wait and writes as late as it may.
#include "agents.h"
#include "operations_impl.h"

#include <algorithm>
#include <cstring>

namespace mohdemu {

namespace {

using Map = mohd_emu_tensor_map;

uint32_t rowBytes(const Map &map) { return uint32_t(map.box[0]) * map.element_bytes; }

uint32_t rowCount(const Map &map) {
  uint32_t rows = 1;
  for (uint32_t i = 1; i < map.rank; ++i)
    rows *= map.box[i];
  return rows;
}

/// What the hardware refuses in a map, or an empty text.
std::string findFault(const Map &map) {
  if (map.rank < 1 || map.rank > 5)
    return text("expects a rank of 1 to 5, got ", int(map.rank));
  if (map.element_bytes != 1 && map.element_bytes != 2 && map.element_bytes != 4)
    return text("expects elements of 1, 2 or 4 bytes, got ", int(map.element_bytes));
  if (map.swizzle > MOHD_EMU_SWIZZLE_128)
    return text("expects a swizzle of 0 to 3, got ", int(map.swizzle));
  if (map.base % 16 != 0)
    return text("expects a tensor at a multiple of 16, got 0x", std::hex, map.base);
  for (uint32_t i = 0; i < map.rank; ++i) {
    if (map.extents[i] == 0)
      return text("expects extents of 1 or more, got 0 in dimension ", i);
    if (map.box[i] < 1 || map.box[i] > 256)
      return text("expects a box of 1 to 256 elements, got ", map.box[i], " in dimension ", i);
    if (i > 0 && (map.strides[i - 1] % 16 != 0 || map.strides[i - 1] == 0))
      return text("expects strides that are multiples of 16 bytes, got ", map.strides[i - 1],
                  " in dimension ", i);
  }
  if (rowBytes(map) % 16 != 0)
    return text("expects rows of a multiple of 16 bytes, got ", rowBytes(map));
  if (map.swizzle != MOHD_EMU_SWIZZLE_NONE && rowBytes(map) > 16u << map.swizzle)
    return text("expects rows of at most ", 16u << map.swizzle, " bytes for the swizzle, got ",
                rowBytes(map));
  return {};
}

void checkMap(Block &block, const Map &map, uint32_t rank, bool writes, const char *site) {
  if (std::string fault = findFault(map); !fault.empty())
    block.fail(ErrorKind::TensorMap, site, std::move(fault));
  if (rank != map.rank)
    block.fail(ErrorKind::TensorMap, site,
               text("expects ", int(map.rank), " coordinates, as the map has, got ", rank));
  uint64_t bytes = uint64_t(map.extents[0]) * map.element_bytes;
  for (uint32_t i = 1; i < map.rank; ++i)
    bytes += (map.extents[i] - uint64_t(1)) * map.strides[i - 1];
  block.checkGlobal(reinterpret_cast<const void *>(map.base), bytes, 16, writes, "tensor map",
                    site);
}

uint32_t checkTile(Block &block, const Map &map, const void *tile, const char *what,
                   const char *site) {
  const uint64_t bytes = uint64_t(rowBytes(map)) * rowCount(map);
  return block.sharedOffset(tile, static_cast<uint32_t>(std::min<uint64_t>(bytes, UINT32_MAX)), 128,
                            what, site);
}

/// A row of a tile: the elements in [begin, end) are in the tensor, the first of them at `address`.
struct Row {
  uint8_t *address;
  uint32_t begin, end;
};

Row findRow(const Map &map, const int32_t *at, uint32_t row) {
  Row result{reinterpret_cast<uint8_t *>(map.base), 0, 0};
  for (uint32_t i = 1; i < map.rank; ++i) {
    const int64_t coordinate = int64_t(at[i]) + row % map.box[i];
    row /= map.box[i];
    if (coordinate < 0 || coordinate >= map.extents[i])
      return result;
    result.address += static_cast<uint64_t>(coordinate) * map.strides[i - 1];
  }
  const int64_t first = at[0], begin = std::max<int64_t>(first, 0);
  const int64_t end = std::min<int64_t>(first + map.box[0], map.extents[0]);
  if (begin < end) {
    result.begin = static_cast<uint32_t>(begin - first);
    result.end = static_cast<uint32_t>(end - first);
    result.address += static_cast<uint64_t>(begin) * map.element_bytes;
  }
  return result;
}

/// Visits the pieces of 16 bytes of a tile: visit(shared offset, row, byte in the row).
template <typename Visit> void forEachPiece(const Map &map, uint32_t tile, Visit visit) {
  const uint32_t bytes = rowBytes(map), rows = rowCount(map);
  for (uint32_t row = 0; row < rows; ++row)
    for (uint32_t at = 0; at < bytes; at += 16)
      visit(swizzle(tile + row * bytes + at, map.swizzle), row, at);
}

void finishLoad(Block &block, const TmaLoad &load) {
  const Map &map = load.map;
  Mbarrier &barrier = *load.barrier;
  const Access access{&load.clock, makeEpoch(barrier.agent, barrier.phases + 1),
                      block.siteNumber(load.site), true};
  Conflict first;
  uint8_t bytes[256 * 4];
  uint32_t filled = UINT32_MAX;
  forEachPiece(map, load.to, [&](uint32_t offset, uint32_t row, uint32_t at) {
    if (row != filled) {
      const Row source = findRow(map, load.at, row);
      std::memset(bytes, 0, rowBytes(map));
      std::memcpy(bytes + source.begin * map.element_bytes, source.address,
                  (source.end - source.begin) * map.element_bytes);
      filled = row;
    }
    std::memcpy(block.arena.window + offset, bytes + at, 16);
    const Conflict conflict = block.arena.shadow.write(offset, 16, access);
    if (first.kind == Conflict::None)
      first = conflict;
  });
  block.reportConflict(first, access, "TMA load", load.site);
  completeBytes(block, barrier, rowBytes(map) * rowCount(map), load.site);
}

} // namespace

/// Ends one of the loads under way, if there is one.
bool Block::finishOneLoad() {
  if (loads.empty())
    return false;
  const size_t index = isRandom() ? random() % loads.size() : 0;
  const TmaLoad load = std::move(loads[index]);
  loads.erase(loads.begin() + static_cast<std::ptrdiff_t>(index));
  accused_ = load.thread;
  finishLoad(*this, load);
  accused_ = kMaxThreads;
  return true;
}

/// Reads the shared memory of a store of the current thread.
void Block::readStore(TmaStore &store) {
  if (store.isRead)
    return;
  store.isRead = true;
  store.tile.resize(size_t(rowBytes(store.map)) * rowCount(store.map));
  const uint32_t now = current_->clock.touch();
  const Access access{&store.clock, makeEpoch(current_->index, now), siteNumber(store.site), true};
  Conflict first;
  forEachPiece(store.map, store.from, [&](uint32_t offset, uint32_t row, uint32_t at) {
    std::memcpy(store.tile.data() + size_t(row) * rowBytes(store.map) + at, arena.window + offset,
                16);
    const Conflict conflict = arena.shadow.read(offset, 16, access);
    if (first.kind == Conflict::None)
      first = conflict;
  });
  reportConflict(first, access, "TMA store", store.site);
}

void Block::finishStores(uint32_t pending, bool onlyRead) {
  Groups<TmaStore> &stores = current_->stores;
  const size_t due = stores.due(pending);
  for (size_t i = 0; i < due; ++i) {
    TmaStore &store = stores.items[i];
    readStore(store);
    if (onlyRead)
      continue;
    const Map &map = store.map;
    for (uint32_t row = 0; row < rowCount(map); ++row) {
      const Row to = findRow(map, store.at, row);
      std::memcpy(to.address,
                  store.tile.data() + size_t(row) * rowBytes(map) + to.begin * map.element_bytes,
                  (to.end - to.begin) * map.element_bytes);
    }
  }
  if (!onlyRead)
    stores.drop(pending);
}

namespace ops {

void tma_load(void *to, const void *map, void *barrier, uint32_t rank, int32_t c0, int32_t c1,
              int32_t c2, int32_t c3, int32_t c4, const char *site) {
  Block &block = currentBlock();
  TmaLoad load;
  std::memcpy(&load.map, map, sizeof(load.map));
  checkMap(block, load.map, rank, false, site);
  load.to = checkTile(block, load.map, to, "TMA load", site);
  load.barrier = &block.findMbarrier(barrier, site);
  if (!load.barrier->fenced)
    block.report(ErrorKind::ProxyFence, site,
                 text("expects fence mbarrier_init or proxy_async after the initialisation of the "
                      "mbarrier at shared offset ",
                      load.barrier->offset, ", got none"));
  const int32_t at[5] = {c0, c1, c2, c3, c4};
  std::copy_n(at, 5, load.at);
  load.clock = block.current().clock.close();
  load.site = site;
  load.thread = block.current().index;
  block.loads.push_back(std::move(load));
}

void tma_store(const void *map, const void *from, uint32_t rank, int32_t c0, int32_t c1, int32_t c2,
               int32_t c3, int32_t c4, const char *site) {
  Block &block = currentBlock();
  TmaStore store;
  std::memcpy(&store.map, map, sizeof(store.map));
  checkMap(block, store.map, rank, true, site);
  store.from = checkTile(block, store.map, from, "TMA store", site);
  const int32_t at[5] = {c0, c1, c2, c3, c4};
  std::copy_n(at, 5, store.at);
  store.clock = block.current().clock.close();
  store.site = site;
  block.current().stores.items.push_back(std::move(store));
}

void tma_store_commit(const char *site) { currentBlock().current().stores.commit(); }

void tma_store_wait(uint32_t pending, uint32_t read, const char *site) {
  currentBlock().finishStores(pending, read != 0);
}

} // namespace ops

} // namespace mohdemu
