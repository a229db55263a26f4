// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// mohd-bench: measures ops and models. Every way of failing ends here, as a message and an exit code of
// docs/formats.md.
#include "Bench.h"
#include "Failure.h"

#include "mohd/Compiler/Compiler.h"
#include "mohd/runtime.h"

using namespace mohdbench;
using namespace mohdtool;

static void runCommand(int argc, char **argv) {
  Options options = parseOptions(argc, argv);
  switch (options.mode) {
  case Options::Mode::Help:
    return writeStdout(options.helpText);
  case Options::Mode::Version:
    return writeStdout(std::string("mohd-bench ") + mlir::mohd::kVersion + "\n" +
                       mohd_version_string() + "\n");
  case Options::Mode::Run:
    return runBenchmarks(options, {argv, argv + argc});
  }
}

int main(int argc, char **argv) {
  return runTool(argc, argv, [&] { runCommand(argc, argv); });
}
