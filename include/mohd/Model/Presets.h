// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Configurations by name: the models of docs/semantics.md, "Presets".

#ifndef MOHD_MODEL_PRESETS_H
#define MOHD_MODEL_PRESETS_H

#include "mohd/Model/Config.h"

namespace mlir::mohd {

/// The names of all presets, smallest model first: `mohd-{355m,495m,1130m}-{dense,50,75,x2,x3,x4}`,
/// then `third_party_ffn`.
const std::vector<std::string> &presetNames();

/// The configuration of a preset; none if there is no preset of that name.
std::optional<ModelConfig> presetConfig(std::string_view name);

} // namespace mlir::mohd

#endif // MOHD_MODEL_PRESETS_H
