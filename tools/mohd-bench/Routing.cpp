// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Draws routings with a generator of known output, as the library's distributions differ between machines.
#include "Routing.h"

#include "Failure.h"
#include "Npy.h"

#include "mohd/format/json.h"

#include <algorithm>
#include <numeric>
#include <random>

using namespace mohdrt;
using namespace mohdtool;

namespace mohdbench {
namespace {

const char *const kDistributions[] = {"uniform", "zipf", "identical", "disjoint"};
const std::string kTracePrefix = "trace:";

/// A number in [0, 1).
double draw(std::mt19937_64 &generator) { return static_cast<double>(generator() >> 11) * 0x1p-53; }

/// `count` different places of `weights`, one after the other with probability proportional to what is left.
std::vector<int32_t> drawPlaces(std::vector<double> weights, int64_t count,
                                std::mt19937_64 &generator) {
  std::vector<int32_t> chosen;
  for (int64_t i = 0; i < count; ++i) {
    double left = draw(generator) * std::accumulate(weights.begin(), weights.end(), 0.0);
    size_t place = 0, last = 0;
    for (; place < weights.size(); ++place) {
      if (weights[place] == 0)
        continue;
      last = place;
      if (left < weights[place])
        break;
      left -= weights[place];
    }
    chosen.push_back(static_cast<int32_t>(last));
    weights[last] = 0;
  }
  return chosen;
}

/// The likelihood of each routed group.
std::vector<double> popularity(const std::string &distribution, int64_t count,
                               std::mt19937_64 &generator) {
  std::vector<double> weights(static_cast<size_t>(count), 1.0);
  if (distribution != "zipf")
    return weights;
  for (size_t i = 0; i < weights.size(); ++i)
    weights[i] = 1.0 / static_cast<double>(i + 1);
  for (size_t i = weights.size(); i > 1; --i)
    std::swap(weights[i - 1], weights[generator() % i]);
  return weights;
}

} // namespace

std::string toString(const Groups &groups) {
  return std::to_string(groups.total) + "," + std::to_string(groups.shared) + "," +
         std::to_string(groups.routed);
}

std::vector<int32_t> TokenRouting::unionGroups() const {
  std::vector<bool> used(static_cast<size_t>(groups.total));
  for (int32_t index : indices)
    used[static_cast<size_t>(index)] = true;
  std::vector<int32_t> all;
  for (int32_t i = 0; i < groups.total; ++i)
    if (used[static_cast<size_t>(i)])
      all.push_back(i);
  return all;
}

double TokenRouting::coverage() const {
  size_t used = unionGroups().size();
  return used ? static_cast<double>(groups.active()) / static_cast<double>(used) : 1;
}

void checkDistribution(const std::string &distribution) {
  bool isTrace = distribution.compare(0, kTracePrefix.size(), kTracePrefix) == 0 &&
                 distribution.size() > kTracePrefix.size();
  if (!isTrace && std::find(std::begin(kDistributions), std::end(kDistributions), distribution) ==
                      std::end(kDistributions))
    throw usage("expected --routing uniform, zipf, identical, disjoint or trace:FILE.npy, got '" +
                escapeForMessage(distribution) + "'");
}

TokenRouting makeRouting(const std::string &distribution, const Groups &groups, int64_t tokens,
                         uint64_t seed) {
  checkDistribution(distribution);
  std::mt19937_64 generator(seed);
  int64_t others = groups.total - groups.shared;
  std::vector<double> weights = popularity(distribution, others, generator);
  TokenRouting routing{groups, tokens, {}};
  std::vector<int32_t> chosen;
  for (int64_t token = 0; token < tokens; ++token) {
    if (distribution == "disjoint") {
      chosen.clear();
      for (int64_t i = 0; i < groups.routed; ++i)
        chosen.push_back(static_cast<int32_t>((token * groups.routed + i) % others));
    } else if (distribution != "identical" || token == 0) {
      chosen = drawPlaces(weights, groups.routed, generator);
    }
    std::sort(chosen.begin(), chosen.end());
    for (int32_t i = 0; i < groups.shared; ++i)
      routing.indices.push_back(i);
    for (int32_t place : chosen)
      routing.indices.push_back(static_cast<int32_t>(groups.shared) + place);
  }
  return routing;
}

TokenRouting traceRouting(const std::vector<int32_t> &indices, int64_t rowLength,
                          const Groups &groups, int64_t tokens, const std::string &path) {
  std::string expected =
      "a routing of " + toString(groups) + ": rows of " + std::to_string(groups.active()) +
      " ascending groups that begin with the " + std::to_string(groups.shared) + " shared ones";
  bool fits = rowLength == groups.active() && rowLength > 0 && !indices.empty();
  for (size_t i = 0; fits && i < indices.size(); ++i) {
    int64_t place = static_cast<int64_t>(i) % rowLength, index = indices[i];
    fits = index < groups.total &&
           (place < groups.shared ? index == place : index >= groups.shared) &&
           (place == 0 || index > indices[i - 1]);
  }
  if (!fits)
    throw failure(mohdrt::StatusCode::InvalidArgument, "expected " + expected, path);
  TokenRouting routing{groups, tokens, {}};
  for (int64_t i = 0; i < tokens * rowLength; ++i)
    routing.indices.push_back(indices[static_cast<size_t>(i) % indices.size()]);
  return routing;
}

TokenRouting findRouting(const std::string &distribution, const Groups &groups, int64_t tokens,
                         uint64_t seed) {
  if (distribution.compare(0, kTracePrefix.size(), kTracePrefix) != 0)
    return makeRouting(distribution, groups, tokens, seed);
  std::string path = distribution.substr(kTracePrefix.size());
  mohdrun::Tensor tensor = mohdrun::readNpy(path);
  if (tensor.type().dtype != mohdrt::DType::I32 || tensor.type().shape.size() != 2)
    throw failure(mohdrt::StatusCode::InvalidArgument,
                  "expected i32 [tokens, K], got " + mohdrun::toString(tensor.type()), path);
  const int32_t *data = tensor.as<int32_t>();
  return traceRouting({data, data + tensor.numElements()}, tensor.type().shape[1], groups, tokens,
                      path);
}

} // namespace mohdbench
