// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// mohd-run: runs bundles. Every way of failing ends here, as a message and an exit code of
// docs/formats.md.
#include "Commands.h"
#include "Failure.h"

using namespace mohdrun;
using namespace mohdtool;

static void runCommand(const Options &options) {
  switch (options.mode) {
  case Options::Mode::Generate:
    return generate(options);
  case Options::Mode::Function:
    return runFunction(options);
  case Options::Mode::Inspect:
    return inspect(options);
  case Options::Mode::ListDevices:
    return listDevices();
  case Options::Mode::CollectEnv:
    return collectEnvironment();
  case Options::Mode::Version:
    return printVersion();
  case Options::Mode::Help:
    return writeStdout(options.helpText);
  }
}

int main(int argc, char **argv) {
  return runTool(argc, argv, [&] { runCommand(parseOptions(argc, argv)); });
}
