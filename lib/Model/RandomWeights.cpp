// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A counter-based generator: element i of a tensor is a function of (seed, name, i) alone, in
// integer arithmetic and one rounding, so that neither the machine nor the order of reading
// matters.

#include "mohd/Model/Weights.h"

#include <unordered_map>

namespace mlir::mohd {
namespace {

constexpr float kWeightDeviation = 0.02f;  // LLaMA's initializer_range
constexpr float kFusionDeviation = 0.002f; // around the identity

/// The finaliser of splitmix64: every output bit depends on every input bit.
uint64_t mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

/// The key of a tensor's stream: FNV-1a over the name, mixed with the seed.
uint64_t streamKey(uint64_t seed, const std::string &name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (unsigned char byte : name)
    hash = (hash ^ byte) * 0x100000001b3u;
  return mix(hash ^ mix(seed + 0x9e3779b97f4a7c15u));
}

/// Draw `index` of a stream: the sum of four 16-bit uniforms, centred; variance (2^32 - 1) / 3.
int32_t drawSum(uint64_t key, int64_t index) {
  uint64_t bits = mix(key + 0x9e3779b97f4a7c15u * (static_cast<uint64_t>(index) + 1));
  int32_t sum = static_cast<int32_t>((bits & 0xffff) + ((bits >> 16) & 0xffff) +
                                     ((bits >> 32) & 0xffff) + (bits >> 48));
  return sum - 2 * 0xffff;
}

constexpr float kUnitDeviation = 1.0f / 37837.227f; // 1 / sqrt((2^32 - 1) / 3)

class RandomSource final : public WeightSource {
public:
  RandomSource(const ModelConfig &config, uint64_t seed) : seed(seed) {
    for (TensorSpec &spec : expectedTensors(config))
      specs.emplace(spec.name, spec);
  }

  Status readTensor(const std::string &name, const TensorLayout &layout, void *target,
                    size_t targetBytes, QuantizationError *error) const override {
    auto found = specs.find(name);
    if (found == specs.end())
      return Status(StatusCode::Internal, "the model has no tensor '" + name + "'");
    const TensorSpec &spec = found->second;
    uint64_t key = streamKey(seed, name);
    return copyTensor(
        spec.shape, layout,
        [&](int64_t first, int64_t count, float *out) {
          fill(spec, key, first, count, out);
          return Status();
        },
        target, targetBytes, error);
  }

  DType storedType(const std::string &) const override { return DType::F32; }
  std::vector<std::string> fileNames() const override { return {}; }

private:
  static void fill(const TensorSpec &spec, uint64_t key, int64_t first, int64_t count, float *out) {
    float scale = kUnitDeviation *
                  (spec.role == TensorRole::Projection ? kWeightDeviation : kFusionDeviation);
    for (int64_t i = 0; i < count; ++i)
      out[i] = spec.role == TensorRole::Norm ? 1.0f
                                             : static_cast<float>(drawSum(key, first + i)) * scale;
    if (spec.role != TensorRole::Fusion)
      return;
    // Blocks of M x M: the diagonal lies M + 1 apart within a block.
    int64_t edge = spec.shape.back(), block = edge * edge;
    for (int64_t i = 0; i < count; ++i)
      if ((first + i) % block % (edge + 1) == 0)
        out[i] += 1.0f;
  }

  uint64_t seed;
  std::unordered_map<std::string, TensorSpec> specs;
};

} // namespace

WeightSource::~WeightSource() = default;

std::unique_ptr<WeightSource> randomWeights(const ModelConfig &config, uint64_t seed) {
  return std::make_unique<RandomSource>(config, seed);
}

} // namespace mlir::mohd
