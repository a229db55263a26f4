// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Runs a fuzz entry point as a test: every seed, every truncation of it, and seeded mutations. The
// same inputs each time.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

namespace {

constexpr int kMutationsPerSeed = 4000;

std::vector<std::string> readSeeds() {
  std::vector<std::filesystem::path> paths;
  for (const auto &entry : std::filesystem::directory_iterator(MOHD_FUZZ_SEEDS))
    paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> seeds;
  for (const std::filesystem::path &path : paths) {
    std::ifstream stream(path, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  }
  return seeds;
}

void runOnce(const std::string &input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t *>(input.data()), input.size());
}

/// One random edit: a flipped bit, a byte that parsers care about, or a piece removed, repeated or
/// taken from `other`.
void mutate(std::string &input, const std::string &other, std::mt19937_64 &random) {
  static const std::string special("\0\xff\"{}[],:0123456789-.eE\\ \n", 26);
  size_t at = random() % (input.size() + 1), length = random() % 32;
  switch (random() % 5) {
  case 0:
    if (at < input.size())
      input[at] = static_cast<char>(input[at] ^ (1 << random() % 8));
    break;
  case 1:
    input.insert(at, 1, special[random() % special.size()]);
    break;
  case 2:
    input.erase(at, length);
    break;
  case 3:
    input.insert(at, input.substr(random() % (input.size() + 1), length));
    break;
  default:
    input.insert(at, other.substr(random() % (other.size() + 1), length));
  }
}

TEST(BoundedFuzz, SeedsAndTruncations) {
  std::vector<std::string> seeds = readSeeds();
  ASSERT_FALSE(seeds.empty());
  for (const std::string &seed : seeds)
    for (size_t size = 0; size <= seed.size(); ++size)
      runOnce(seed.substr(0, size));
}

TEST(BoundedFuzz, Mutations) {
  std::vector<std::string> seeds = readSeeds();
  std::mt19937_64 random(1);
  for (const std::string &seed : seeds)
    for (int round = 0; round < kMutationsPerSeed; ++round) {
      std::string input = seed;
      for (uint64_t edits = 1 + random() % 4; edits > 0; --edits)
        mutate(input, seeds[random() % seeds.size()], random);
      runOnce(input);
    }
}

} // namespace
