// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What mohd-run can do, one function each. They throw a Failure.
#ifndef MOHD_TOOLS_MOHD_RUN_COMMANDS_H
#define MOHD_TOOLS_MOHD_RUN_COMMANDS_H

#include "Options.h"

namespace mohdrun {

/// Continues the prompt with the entry points `prefill` and `decode`, token by token on stdout.
void generate(const Options &options);

/// Runs the entry point --function with --input, and writes, prints or compares what comes out.
void runFunction(const Options &options);

/// Prints a bundle's manifest after the whole file has been checked.
void inspect(const Options &options);

/// Prints a line for each device.
void listDevices();

/// Prints versions, machine and settings for bug reports.
void collectEnvironment();

/// Prints the versions of the program, the bundle format and the C ABI.
void printVersion();

} // namespace mohdrun

#endif // MOHD_TOOLS_MOHD_RUN_COMMANDS_H
