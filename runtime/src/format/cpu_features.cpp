// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CPU features: by cpuid and xgetbv on x86-64, from the kernel's auxiliary vector on AArch64.
#include "mohd/format/cpu_features.h"

#include <algorithm>
#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace mohdrt {
namespace {

enum Register { Eax, Ebx, Ecx, Edx };

// What the operating system must save for the feature: nothing more, ymm, zmm or tile registers.
enum OsState : uint64_t { Base = 0, Ymm = 0x6, Zmm = 0xe6, Tile = 0x60000 };

struct X86Feature {
  std::string_view name;
  uint32_t leaf, subleaf;
  Register reg;
  int bit;
  OsState state;
};

constexpr X86Feature kX86Features[] = {
    {"cmov", 1, 0, Edx, 15, Base},
    {"cx8", 1, 0, Edx, 8, Base},
    {"fxsr", 1, 0, Edx, 24, Base},
    {"mmx", 1, 0, Edx, 23, Base},
    {"sse", 1, 0, Edx, 25, Base},
    {"sse2", 1, 0, Edx, 26, Base},
    {"sse3", 1, 0, Ecx, 0, Base},
    {"pclmul", 1, 0, Ecx, 1, Base},
    {"ssse3", 1, 0, Ecx, 9, Base},
    {"fma", 1, 0, Ecx, 12, Ymm},
    {"cx16", 1, 0, Ecx, 13, Base},
    {"sse4.1", 1, 0, Ecx, 19, Base},
    {"sse4.2", 1, 0, Ecx, 20, Base},
    {"crc32", 1, 0, Ecx, 20, Base},
    {"movbe", 1, 0, Ecx, 22, Base},
    {"popcnt", 1, 0, Ecx, 23, Base},
    {"aes", 1, 0, Ecx, 25, Base},
    {"xsave", 1, 0, Ecx, 27, Base},
    {"avx", 1, 0, Ecx, 28, Ymm},
    {"f16c", 1, 0, Ecx, 29, Ymm},
    {"rdrnd", 1, 0, Ecx, 30, Base},
    {"fsgsbase", 7, 0, Ebx, 0, Base},
    {"bmi", 7, 0, Ebx, 3, Base},
    {"avx2", 7, 0, Ebx, 5, Ymm},
    {"bmi2", 7, 0, Ebx, 8, Base},
    {"avx512f", 7, 0, Ebx, 16, Zmm},
    {"avx512dq", 7, 0, Ebx, 17, Zmm},
    {"rdseed", 7, 0, Ebx, 18, Base},
    {"adx", 7, 0, Ebx, 19, Base},
    {"avx512ifma", 7, 0, Ebx, 21, Zmm},
    {"clflushopt", 7, 0, Ebx, 23, Base},
    {"clwb", 7, 0, Ebx, 24, Base},
    {"avx512cd", 7, 0, Ebx, 28, Zmm},
    {"sha", 7, 0, Ebx, 29, Base},
    {"avx512bw", 7, 0, Ebx, 30, Zmm},
    {"avx512vl", 7, 0, Ebx, 31, Zmm},
    {"avx512vbmi", 7, 0, Ecx, 1, Zmm},
    {"avx512vbmi2", 7, 0, Ecx, 6, Zmm},
    {"gfni", 7, 0, Ecx, 8, Base},
    {"vaes", 7, 0, Ecx, 9, Ymm},
    {"vpclmulqdq", 7, 0, Ecx, 10, Ymm},
    {"avx512vnni", 7, 0, Ecx, 11, Zmm},
    {"avx512bitalg", 7, 0, Ecx, 12, Zmm},
    {"avx512vpopcntdq", 7, 0, Ecx, 14, Zmm},
    {"movdiri", 7, 0, Ecx, 27, Base},
    {"movdir64b", 7, 0, Ecx, 28, Base},
    {"amx-bf16", 7, 0, Edx, 22, Tile},
    {"avx512fp16", 7, 0, Edx, 23, Zmm},
    {"amx-tile", 7, 0, Edx, 24, Tile},
    {"amx-int8", 7, 0, Edx, 25, Tile},
    {"avxvnni", 7, 1, Eax, 4, Ymm},
    {"avx512bf16", 7, 1, Eax, 5, Zmm},
    {"avxifma", 7, 1, Eax, 23, Ymm},
    {"sahf", 0x80000001, 0, Ecx, 0, Base},
    {"lzcnt", 0x80000001, 0, Ecx, 5, Base},
    {"prfchw", 0x80000001, 0, Ecx, 8, Base},
};

/// A bit of getauxval(AT_HWCAP), or of AT_HWCAP2.
struct ArmFeature {
  std::string_view name;
  int word, bit; // word 1 or 2
};

constexpr ArmFeature kArmFeatures[] = {
    {"fp-armv8", 1, 0}, {"neon", 1, 1},      {"aes", 1, 3},   {"sha2", 1, 6},     {"crc", 1, 7},
    {"lse", 1, 8},      {"fullfp16", 1, 10}, {"rdm", 1, 12},  {"dotprod", 1, 20}, {"sve", 1, 22},
    {"fp16fml", 1, 23}, {"sve2", 2, 1},      {"i8mm", 2, 13}, {"bf16", 2, 14},
};

struct ArchLevel {
  std::string_view arch;
  std::vector<std::string> features; // without those of the level before
};

template <typename Feature, size_t size>
const Feature *find(const Feature (&features)[size], std::string_view name) {
  for (const Feature &feature : features)
    if (feature.name == name)
      return &feature;
  return nullptr;
}

#if defined(__x86_64__)
constexpr auto &kHostFeatures = kX86Features;

/// What cpuid says, asked once: in a virtual machine each time costs microseconds.
struct CpuidLeaf {
  CpuidLeaf(uint32_t leaf, uint32_t subleaf) {
    if (!__get_cpuid_count(leaf, subleaf, &regs[0], &regs[1], &regs[2], &regs[3]))
      std::fill(regs, regs + 4, 0);
  }
  uint32_t regs[4];
};

uint64_t enabledOsState(const CpuidLeaf &first) {
  if (!(first.regs[Ecx] & (1u << 27)))
    return 0; // no OSXSAVE: xgetbv would fault
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t(high) << 32 | low;
}

bool hostHas(const X86Feature &feature) {
  static const CpuidLeaf first(1, 0), seventh(7, 0), seventhMore(7, 1), extended(0x80000001, 0);
  static const uint64_t osState = enabledOsState(first);
  const CpuidLeaf &leaf = feature.leaf == 1      ? first
                          : feature.leaf != 7    ? extended
                          : feature.subleaf == 0 ? seventh
                                                 : seventhMore;
  return (leaf.regs[feature.reg] >> feature.bit & 1) && (osState & feature.state) == feature.state;
}
#else
constexpr auto &kHostFeatures = kArmFeatures;

bool hostHas(const ArmFeature &feature) {
#if defined(__aarch64__)
  return ::getauxval(feature.word == 1 ? AT_HWCAP : AT_HWCAP2) >> feature.bit & 1;
#else
  return false;
#endif
}
#endif

} // namespace

bool isKnownCpuFeature(std::string_view name) noexcept {
  return find(kX86Features, name) || find(kArmFeatures, name);
}

bool hostHasCpuFeature(std::string_view name) noexcept {
  const auto *feature = find(kHostFeatures, name);
  return feature && hostHas(*feature);
}

std::vector<std::string> hostCpuFeatures() {
  std::vector<std::string> names;
  for (const auto &feature : kHostFeatures)
    if (hostHas(feature))
      names.emplace_back(feature.name);
  return names;
}

std::vector<std::string> archCpuFeatures(std::string_view arch) {
  if (arch == "aarch64")
    return {"fp-armv8", "neon"};
  // The x86-64 psABI's levels; each includes the ones before it.
  static const ArchLevel levels[] = {
      {"x86-64", {"cmov", "cx8", "fxsr", "mmx", "sse", "sse2"}},
      {"x86-64-v2", {"cx16", "sahf", "popcnt", "sse3", "ssse3", "sse4.1", "sse4.2"}},
      {"x86-64-v3", {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"}},
      {"x86-64-v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}},
  };
  std::vector<std::string> features;
  for (const ArchLevel &level : levels) {
    features.insert(features.end(), level.features.begin(), level.features.end());
    if (level.arch == arch)
      return features;
  }
  return {};
}

bool hostRunsArch(std::string_view arch) noexcept {
  auto startsWith = [&](std::string_view prefix) {
    return arch.substr(0, prefix.size()) == prefix;
  };
#if defined(__x86_64__)
  return !startsWith("aarch64") && !startsWith("arm") && !startsWith("riscv");
#else
  return startsWith("aarch64");
#endif
}

} // namespace mohdrt
