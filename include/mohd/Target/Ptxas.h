// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// NVIDIA's assembler: where it is, how it is run, and what it says.
#ifndef MOHD_TARGET_PTXAS_H
#define MOHD_TARGET_PTXAS_H

#include "mohd/format/status.h"

#include "llvm/ADT/StringRef.h"

#include <optional>
#include <string>
#include <vector>

namespace mlir::mohd {

/// Where ptxas is looked for.
struct PtxasPlaces {
  /// MOHD_PTXAS: the program itself, and no other; if it is set and empty, none.
  std::optional<std::string> program;
  /// Folders, the first that has it counts.
  std::vector<std::string> folders;

  /// MOHD_PTXAS; CUDA_HOME, CUDA_PATH, PATH, the usual place of CUDA, and where `scripts/setup --cuda` puts it.
  static PtxasPlaces fromEnvironment();
};

/// An assembler that was found.
struct Ptxas {
  std::string path;
  std::string version; // "13.0.88"; as much of what it prints as could be read
};

/// Looks for ptxas. Absent, it is an error (`NotFound`) that says what to install; a `program` that cannot be run is another
/// (`InvalidArgument`).
::mohdrt::Result<Ptxas> findPtxas(const PtxasPlaces &places);

/// What ptxas says of a function: of a kernel or, with fewer figures, of a function that a kernel calls.
struct PtxasFunction {
  std::string name;
  bool isKernel = false;
  int64_t registers = 0;   // of a thread
  int64_t barriers = 0;    // named barriers
  int64_t sharedBytes = 0; // of a block, static
  int64_t stackBytes = 0;  // of a thread
  int64_t spillStoreBytes = 0, spillLoadBytes = 0;
};

/// What `ptxas -v` printed.
struct PtxasReport {
  std::vector<PtxasFunction> functions;
  std::vector<std::string>
      losses; // lines with a message C75xx ("Potential Performance Loss") other than C7519
  std::vector<std::string> errors; // lines that say error or fatal

  const PtxasFunction *find(llvm::StringRef name) const;
};

/// Reads what `ptxas -v` printed; lines that are not known are skipped.
PtxasReport parsePtxasReport(llvm::StringRef text);

/// Refuses what would make kernels slow: spills, stack frames and the report's losses. One line for each.
::mohdrt::Status checkPtxasReport(const PtxasReport &report);

/// What an assembler made of a PTX text.
struct Assembled {
  std::string cubin;
  PtxasReport report;
};

/// The command line that assembles the file `input`.
std::string ptxasCommand(const Ptxas &ptxas, llvm::StringRef chip, llvm::StringRef input);

/// Assembles `ptx` for `chip`, in files in memory. An assembler that fails, dies or is not done within ten minutes is an error with what it said.
::mohdrt::Result<Assembled> assemblePtx(const Ptxas &ptxas, llvm::StringRef chip,
                                        llvm::StringRef ptx);

} // namespace mlir::mohd

#endif // MOHD_TARGET_PTXAS_H
