// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs the measurements on several threads, and asks the system about the machine.
#include "Machine.h"

#include "Failure.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <numeric>
#include <string>
#include <thread>

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

namespace mohdbench {
namespace {

constexpr size_t kPieces = 8; // of the buffer; one is read at a time

/// Runs `measure(thread)` on each thread at once and returns the sum of what they return.
double sumThreads(uint32_t threads, const std::function<double(uint32_t)> &measure) {
  std::vector<double> results(threads);
  std::vector<std::thread> others;
  for (uint32_t i = 1; i < threads; ++i)
    others.emplace_back([&, i] { results[i] = measure(i); });
  results[0] = measure(0);
  for (std::thread &other : others)
    other.join();
  return std::accumulate(results.begin(), results.end(), 0.0);
}

/// The first line of a file, or an empty string.
std::string readLine(const std::string &path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// A size such as "2048K".
size_t parseSize(const std::string &text) {
  unsigned long long value = 0;
  char unit = 0;
  if (std::sscanf(text.c_str(), "%llu%c", &value, &unit) < 1)
    return 0;
  return static_cast<size_t>(value) << (unit == 'K' ? 10 : unit == 'M' ? 20 : 0);
}

std::string cacheFolder(int index) {
  return "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
}

std::string cpuModel() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.compare(0, 10, "model name") == 0)
      return line.substr(std::min(line.find(": ") + 2, line.size()));
  return "unknown";
}

} // namespace

void Unmap::operator()(void *memory) const { ::munmap(memory, size); }

Buffer allocate(size_t size) {
  size = std::max<size_t>(size, 1);
  void *memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    throw mohdtool::failure(mohdrt::StatusCode::OutOfMemory,
                            "no memory for a buffer of " + std::to_string(size) + " bytes");
  ::madvise(memory, size, MADV_HUGEPAGE); // a wish
  return Buffer(memory, Unmap{size});
}

Machine::Machine(size_t bufferBytes, double peakSeconds)
    : buffer_(allocate(bufferBytes)), peakSeconds_(peakSeconds) {
  std::memset(buffer_.get(), 0x3c, buffer_.get_deleter().size); // pages of their own, no zero page
}

double Machine::samplePeak(uint32_t threads) const {
  return sumThreads(threads, [&](uint32_t) { return measurePeak(peakSeconds_); });
}

double Machine::sampleBandwidth(uint32_t threads) {
  size_t piece = buffer_.get_deleter().size / kPieces, share = piece / threads / 64 * 64;
  const char *start = static_cast<const char *>(buffer_.get()) + next_ * piece;
  next_ = (next_ + 1) % kPieces;
  return sumThreads(threads, [&](uint32_t thread) {
    // Of memory that was not touched for a while, the first read is slow on virtual machines; a piece is too large for caches.
    measureBandwidth(start + thread * share, share);
    return measureBandwidth(start + thread * share, share);
  });
}

size_t largestCache() {
  size_t largest = 0;
  for (int i = 0; i < 8; ++i)
    largest = std::max(largest, parseSize(readLine(cacheFolder(i) + "size")));
  return largest;
}

mohdrt::JsonValue describeMachine() {
  mohdrt::JsonValue machine = mohdrt::JsonValue::object();
  machine.set("cpu", cpuModel());
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  ::sched_getaffinity(0, sizeof(allowed), &allowed);
  machine.set("cpus", CPU_COUNT(&allowed));
  machine.set("memory_bytes",
              static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE));
  mohdrt::JsonValue caches = mohdrt::JsonValue::object();
  for (int i = 0; i < 8; ++i) {
    std::string folder = cacheFolder(i), level = readLine(folder + "level");
    if (!level.empty())
      caches.set("L" + level + (readLine(folder + "type") == "Instruction" ? "i" : ""),
                 static_cast<int64_t>(parseSize(readLine(folder + "size"))));
  }
  machine.set("caches_bytes", caches);
  return machine;
}

} // namespace mohdbench
