// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Ways for a child process to end.
#include "mohd/Target/IsolatedProcess.h"

#include "llvm/Support/ErrorHandling.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <unistd.h>

using namespace mlir::mohd;
using ::mohdrt::Result;
using ::mohdrt::Status;
using ::mohdrt::StatusCode;
using Strings = std::vector<std::string>;

/// The message of a body that must fail.
static std::string messageOf(void (*body)(), unsigned seconds = 20) {
  Result<Strings> result = runIsolated(
      [&]() -> Result<Strings> {
        body();
        return Strings{};
      },
      seconds);
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), StatusCode::Internal);
  return result.status().message();
}

TEST(IsolatedProcess, ReturnsStringsWithAnyBytes) {
  const Strings strings = {"", std::string("a\0b\n12\n", 7), std::string(1 << 20, 'x')};
  Result<Strings> result = runIsolated([&] { return Result<Strings>(strings); }, 20);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(*result, strings);
}

TEST(IsolatedProcess, ReturnsTheBodysError) {
  Result<Strings> result = runIsolated(
      [] { return Result<Strings>(Status(StatusCode::Unsupported, "expects a, got b")); }, 20);
  EXPECT_EQ(result.status().code(), StatusCode::Unsupported);
  EXPECT_EQ(result.status().message(), "expects a, got b");
}

TEST(IsolatedProcess, ChangesNothingInTheParent) {
  int value = 1;
  ASSERT_TRUE(runIsolated(
                  [&] {
                    value = 2;
                    return Result<Strings>(Strings{});
                  },
                  20)
                  .ok());
  EXPECT_EQ(value, 1);
}

TEST(IsolatedProcess, DeathIsAnErrorThatSaysHow) {
  EXPECT_EQ(messageOf([] { llvm::report_fatal_error("Cannot select: x"); }), "Cannot select: x");
  EXPECT_EQ(messageOf([] { ::raise(SIGSEGV); }), "killed by signal 11 (Segmentation fault)");
  EXPECT_EQ(messageOf([] { ::raise(SIGKILL); }), "killed by signal 9 (Killed)");
  EXPECT_EQ(messageOf([] { ::_exit(3); }), "exit status 3");
  EXPECT_EQ(messageOf([] { ::_exit(0); }), "the child process left no result");
}

TEST(IsolatedProcess, QuotesTheEndOfStderr) {
  EXPECT_EQ(messageOf([] {
              (void)!::write(STDERR_FILENO, "pure virtual method called\n", 27);
              ::abort();
            }),
            "killed by signal 6 (Aborted)\npure virtual method called");
}

TEST(IsolatedProcess, StopsAfterItsTime) {
  EXPECT_EQ(messageOf([] { ::sleep(60); }, 1), "not done after 1 seconds");
}
