// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs the measurements on several threads, and asks the system about the machine.
#include "Machine.h"

#include "Failure.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

namespace mohdbench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kPieces = 8; // of the buffer; one is read at a time

/// Runs `body(thread)` on each thread at once and returns the seconds from the first start to the last end.
double timeThreads(uint32_t threads, const std::function<void(uint32_t)> &body) {
  std::vector<Clock::time_point> starts(threads), ends(threads);
  auto work = [&](uint32_t thread) {
    starts[thread] = Clock::now();
    body(thread);
    ends[thread] = Clock::now();
  };
  std::vector<std::thread> others;
  for (uint32_t i = 1; i < threads; ++i)
    others.emplace_back(work, i);
  work(0);
  for (std::thread &other : others)
    other.join();
  return std::chrono::duration<double>(*std::max_element(ends.begin(), ends.end()) -
                                       *std::min_element(starts.begin(), starts.end()))
      .count();
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
  std::vector<double> rates(threads);
  timeThreads(threads, [&](uint32_t thread) { rates[thread] = measurePeak(peakSeconds_); });
  double sum = 0;
  for (double rate : rates)
    sum += rate;
  return sum;
}

double Machine::sampleBandwidth(uint32_t threads) {
  size_t piece = buffer_.get_deleter().size / kPieces, share = piece / threads / 64 * 64;
  const char *start = static_cast<const char *>(buffer_.get()) + next_ * piece;
  next_ = (next_ + 1) % kPieces;
  std::vector<float> sums(threads); // else nothing would need to be read
  double seconds = timeThreads(
      threads, [&](uint32_t thread) { sums[thread] = readAll(start + thread * share, share); });
  return static_cast<double>(share * threads) / seconds;
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
