// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Bundles for GPUs, with the kernels of TestGpuKernels.c.
#ifndef MOHD_UNITTESTS_GPUBUNDLE_H
#define MOHD_UNITTESTS_GPUBUNDLE_H

#include "TestBundle.h"

namespace mohdrt {

/// Entry point 2 of makeGpuManifest(): y = 3 * x for x f32 [T, 16].
inline EntryPoint makeTilesEntry() {
  EntryPoint entry;
  entry.name = "tiles";
  entry.dims = {"T"};
  entry.inputs.push_back({"x", DType::F32, {std::string("T"), 16}, std::nullopt, false});
  entry.outputs.push_back({"y", DType::F32, {std::string("T"), 16}, std::nullopt, false});
  return entry;
}

/// A [T, 16] tensor of f32 in tiles of 8 rows.
inline TensorMap makeRowsMap(int64_t binding) {
  return {binding, DType::F32, {"16", "T"}, {"64"}, {16, 8}, 64};
}

inline Program makeTilesProgram() {
  using Kind = Binding::Kind;
  Dispatch tiles;
  tiles.kernel = 3, tiles.grid = "ceildiv(T,8)", tiles.params = {"3"};
  tiles.bindings = {{Kind::Input, 0, "0", "T*64"}, {Kind::Output, 0, "0", "T*64"}};
  tiles.maps = {makeRowsMap(0), makeRowsMap(1)};
  return {2, "0", {tiles}};
}

/// A target of kind "cuda" (a cubin, or PTX if the arch says so) or "emulate". "tiles" needs sm_90.
inline Target makeGpuTarget(const std::string &kind, const std::string &arch, int64_t segment = 0) {
  using Kind = Binding::Kind;
  Target target;
  target.kind = kind, target.arch = arch, target.segment = segment;
  if (kind == "emulate")
    target.host = "x86-64";
  else
    target.code = arch == "ptx" ? "ptx" : "cubin";
  target.kernels = {{"gpu_scale", 3, 1, 0, 64, 0},
                    {"gpu_square", 2, 1, 0, 64, 0},
                    {"gpu_gather", 3, 2, 0, 64, 0}};
  Dispatch scale, square, gather;
  scale.kernel = 0, scale.grid = "ceildiv(T,64)", scale.params = {"T"};
  scale.bindings = {
      {Kind::Input, 0, "0", "T*4"}, {Kind::Weight, 0, "0", "4"}, {Kind::Output, 0, "0", "T*4"}};
  square.kernel = 1, square.grid = "ceildiv(T,64)", square.params = {"T"};
  square.bindings = {{Kind::Input, 0, "0", "T*4"}, {Kind::Workspace, 0, "64", "T*4"}};
  gather.kernel = 2, gather.grid = "ceildiv(R,64)", gather.params = {"R", "T"};
  gather.bindings = {{Kind::Workspace, 0, "64", "T*4"},
                     {Kind::Input, 1, "0", "R*4"},
                     {Kind::Output, 0, "0", "R*4"}};
  target.programs = {{0, "0", {scale}}, {1, "64+T*4", {square, gather}}};
  if (std::optional<GpuArch> gpu = parseGpuArch(arch); gpu && gpu->major >= 9) {
    target.kernels.push_back({"gpu_tiles", 2, 1, 2, 32, 1024});
    target.programs.push_back(makeTilesProgram());
  }
  if (target.isCubin())
    for (Kernel &kernel : target.kernels)
      kernel.registers = 32, kernel.staticSharedBytes = 0, kernel.blocksPerSm = 16;
  return target;
}

/// makeManifest() with the entry point "tiles" and these targets instead of its own. Segment 0 holds
/// code, segment 1 the weight.
inline Manifest makeGpuManifest(std::vector<Target> targets) {
  Manifest manifest = makeManifest();
  manifest.entryPoints.push_back(makeTilesEntry());
  manifest.targets = std::move(targets);
  return manifest;
}

} // namespace mohdrt

#endif // MOHD_UNITTESTS_GPUBUNDLE_H
