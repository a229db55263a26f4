// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// mohd-run: runs bundles. Every way of failing ends here, as a message and an exit code of
// docs/formats.md.
#include "Commands.h"
#include "Failure.h"

#include "mohd/format/output_file.h"

#include <cstring>
#include <new>

using namespace mohdrun;

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
  bool json = false; // before the options are parsed, as that can fail
  for (int i = 1; i < argc; ++i)
    json |= std::strcmp(argv[i], "--json") == 0;
  mohdrt::installInterruptCleanup();
  if (!json)
    warnAboutUnknownVariables();
  try {
    runCommand(parseOptions(argc, argv));
    return 0;
  } catch (const Failure &failure) {
    return report(failure, json);
  } catch (const std::bad_alloc &) {
    return report(failure(mohdrt::StatusCode::OutOfMemory, "out of memory"), json);
  } catch (const std::exception &error) {
    return report(
        failure(mohdrt::StatusCode::Internal, std::string("internal error: ") + error.what()),
        json);
  }
}
