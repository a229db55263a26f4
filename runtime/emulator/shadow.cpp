// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The shadow of shared memory. A write must come after the last write and all reads since; a read
// after the last write. Readers that a later reader is ordered after need not be remembered.
#include "shadow.h"

#include <algorithm>

namespace mohdemu {

Shadow::Shadow(uint32_t threads, uint32_t agents) : threads_(threads), agents_(agents) {
  crowds_.emplace_back();
}

void Shadow::reset(uint32_t bytes) {
  chunks_.assign((bytes + kCell - 1) / kCell, Chunk());
  for (Chunk &chunk : chunks_)
    chunk.unit = kCell;
  usedParts_ = 0;
  freeCrowds_.clear();
  for (uint32_t i = 1; i < crowds_.size(); ++i) {
    std::fill(crowds_[i].begin(), crowds_[i].end(), 0u);
    freeCrowds_.push_back(i);
  }
}

void Shadow::split(Chunk &chunk, uint32_t unit) {
  if (!chunk.parts) {
    if (usedParts_ == parts_.size())
      parts_.emplace_back();
    chunk.parts = ++usedParts_;
  }
  Parts &parts = parts_[chunk.parts - 1];
  const Parts before = parts;
  for (uint32_t i = 0; i < kCell / unit; ++i) {
    const uint32_t from = i * unit / chunk.unit;
    parts[i] = chunk.unit == kCell ? chunk.whole : before[from];
    // A crowd has one owner; the others copy it.
    if (parts[i].crowd && i * unit % chunk.unit != 0) {
      const std::vector<uint32_t> counts = crowds_[parts[i].crowd];
      parts[i].crowd = 0;
      crowd(parts[i]);
      crowds_[parts[i].crowd] = counts;
    }
  }
  chunk.unit = unit;
}

/// The cells of an access within one chunk.
Shadow::Cell *Shadow::cellsOf(uint32_t offset, uint32_t bytes, uint32_t &count) {
  Chunk &chunk = chunks_[offset / kCell];
  if (bytes < chunk.unit)
    split(chunk, bytes);
  count = bytes / chunk.unit;
  if (chunk.unit == kCell)
    return &chunk.whole;
  return &parts_[chunk.parts - 1][offset % kCell / chunk.unit];
}

Conflict Shadow::read(uint32_t offset, uint32_t bytes, const Access &access) {
  Conflict conflict;
  for (uint32_t at = offset, end = offset + bytes; at < end;) {
    const uint32_t size = std::min(end - at, kCell - at % kCell);
    uint32_t count;
    Cell *cells = cellsOf(at, size, count);
    for (uint32_t i = 0; i < count; ++i)
      readCell(cells[i], access, at + i * (size / count), conflict);
    at += size;
  }
  return conflict;
}

Conflict Shadow::write(uint32_t offset, uint32_t bytes, const Access &access) {
  Conflict conflict;
  for (uint32_t at = offset, end = offset + bytes; at < end;) {
    const uint32_t size = std::min(end - at, kCell - at % kCell);
    uint32_t count;
    Cell *cells = cellsOf(at, size, count);
    for (uint32_t i = 0; i < count; ++i)
      writeCell(cells[i], access, at + i * (size / count), conflict);
    Chunk &chunk = chunks_[at / kCell];
    if (size == kCell && chunk.unit != kCell) { // all alike again
      chunk.whole = cells[0];
      chunk.unit = kCell;
    }
    at += size;
  }
  return conflict;
}

void Shadow::markMbarrier(uint32_t offset, const Access &access) {
  uint32_t count;
  Cell *cells = cellsOf(offset, 8, count);
  for (uint32_t i = 0; i < count; ++i) {
    releaseCrowd(cells[i]);
    cells[i] = Cell();
    cells[i].written = access.epoch;
    cells[i].writeSite = access.site;
    cells[i].mbarrier = true;
  }
}

void Shadow::readCell(Cell &cell, const Access &access, uint32_t at, Conflict &conflict) {
  if (conflict.kind == Conflict::None) {
    Conflict::Kind kind = Conflict::None;
    if (!cell.written)
      kind = Conflict::Uninitialised;
    else if (cell.mbarrier)
      kind = Conflict::Mbarrier;
    else if (!access.clock->covers(cell.written))
      kind = Conflict::Race;
    else if (access.async && agentOf(cell.written) < threads_ &&
             !access.clock->coversFenced(cell.written))
      kind = Conflict::Unfenced;
    if (kind != Conflict::None)
      conflict = {kind, at, true, cell.written, cell.writeSite};
  }
  addReader(cell, access);
}

void Shadow::addReader(Cell &cell, const Access &access) {
  const uint32_t agent = agentOf(access.epoch);
  cell.readSite = access.site;
  if (cell.crowd) {
    crowds_[cell.crowd][agent] = clockOf(access.epoch);
    return;
  }
  int place = -1;
  for (int i = 0; i < 3; ++i) {
    Epoch &reader = cell.readers[i];
    if (reader && agentOf(reader) != agent && !access.clock->covers(reader))
      continue;
    reader = 0;
    place = i;
  }
  if (place >= 0) {
    cell.readers[place] = access.epoch;
    return;
  }
  crowd(cell);
  for (Epoch reader : cell.readers)
    crowds_[cell.crowd][agentOf(reader)] = clockOf(reader);
  crowds_[cell.crowd][agent] = clockOf(access.epoch);
}

/// Gives a cell a count for each agent, all 0.
void Shadow::crowd(Cell &cell) {
  if (freeCrowds_.empty()) {
    freeCrowds_.push_back(static_cast<uint32_t>(crowds_.size()));
    crowds_.emplace_back(agents_);
  }
  cell.crowd = freeCrowds_.back();
  freeCrowds_.pop_back();
}

void Shadow::releaseCrowd(Cell &cell) {
  if (!cell.crowd)
    return;
  std::fill(crowds_[cell.crowd].begin(), crowds_[cell.crowd].end(), 0u);
  freeCrowds_.push_back(cell.crowd);
  cell.crowd = 0;
}

/// A reader that `access` is not ordered after, or 0.
Epoch Shadow::unorderedReader(const Cell &cell, const Access &access) const {
  if (!cell.crowd) {
    for (Epoch reader : cell.readers)
      if (reader && !access.clock->covers(reader))
        return reader;
    return 0;
  }
  const std::vector<uint32_t> &counts = crowds_[cell.crowd];
  for (uint32_t agent = 0; agent < agents_; ++agent)
    if (counts[agent] && !access.clock->covers(makeEpoch(agent, counts[agent])))
      return makeEpoch(agent, counts[agent]);
  return 0;
}

void Shadow::writeCell(Cell &cell, const Access &access, uint32_t at, Conflict &conflict) {
  if (conflict.kind == Conflict::None) {
    if (cell.mbarrier)
      conflict = {Conflict::Mbarrier, at, true, cell.written, cell.writeSite};
    else if (cell.written && !(access.atomic && cell.atomic) && !access.clock->covers(cell.written))
      conflict = {Conflict::Race, at, true, cell.written, cell.writeSite};
    else if (Epoch reader = unorderedReader(cell, access))
      conflict = {Conflict::Race, at, false, reader, cell.readSite};
  }
  releaseCrowd(cell);
  const bool mbarrier = cell.mbarrier;
  cell = Cell();
  cell.written = access.epoch;
  cell.writeSite = access.site;
  cell.atomic = access.atomic;
  cell.mbarrier = mbarrier;
}

} // namespace mohdemu
