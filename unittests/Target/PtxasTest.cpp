// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Texts that ptxas 13.0 printed, and where ptxas is looked for.
#include "mohd/Target/Ptxas.h"

#include <gtest/gtest.h>

using namespace mlir::mohd;
using ::mohdrt::Result;
using ::mohdrt::StatusCode;

static const char twoKernels[] = R"(ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'k2' for 'sm_90a'
ptxas info    : Function properties for k2
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 168 registers, used 0 barriers
ptxas info    : Compile time = 40.405 ms
ptxas info    : Compiling entry function 'k' for 'sm_90a'
ptxas info    : Function properties for k
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 1 barriers, 1024 bytes smem, 360 bytes cmem[0]
ptxas info    : Compile time = 1.392 ms
)";

static const char spills[] =
    R"(ptxas warning : Local memory used for function 'spills', size of stack frame: 168 bytes
ptxas warning : Registers are spilled to local memory in function 'spills', 164 bytes spill stores, 160 bytes spill loads
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'spills' for 'sm_90a'
ptxas info    : Function properties for spills
    168 bytes stack frame, 164 bytes spill stores, 160 bytes spill loads
ptxas info    : Used 24 registers, used 0 barriers, 168 bytes cumulative stack size
ptxas info    : Compile time = 9.349 ms
)";

static const char losses[] =
    R"(ptxas info    : (C7519) warpgroup.arrive is injected in around line 50 by compiler to allow use of registers in GMMA in function 'wgmma'
ptxas info    : (C7517) warpgroup.wait is injected in around line 55 by compiler to allow use of registers defined by GMMA in function 'wgmma'
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'wgmma' for 'sm_90a'
ptxas info    : Function properties for wgmma
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 30 registers, used 0 barriers
)";

static const char stackFrame[] = R"(ptxas info    : Compiling entry function 'k' for 'sm_90a'
ptxas info    : Function properties for helper
    4096 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Function properties for k
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers, 4096 bytes cumulative stack size
)";

static const char errors[] = R"(ptxas b.ptx, line 6; error   : Unknown modifier '.bar'
ptxas c.ptx, line 1; fatal   : Unsupported .version 9.9; current version is '9.0'
ptxas fatal   : Ptx assembly aborted due to errors
)";

TEST(PtxasReport, HasEachKernelsFigures) {
  PtxasReport report = parsePtxasReport(twoKernels);
  ASSERT_EQ(report.functions.size(), 2u);
  const PtxasFunction *first = report.find("k2"), *second = report.find("k");
  ASSERT_TRUE(first && second);
  EXPECT_TRUE(first->isKernel);
  EXPECT_EQ(first->registers, 168);
  EXPECT_EQ(first->sharedBytes, 0);
  EXPECT_EQ(second->registers, 8);
  EXPECT_EQ(second->barriers, 1);
  EXPECT_EQ(second->sharedBytes, 1024);
  EXPECT_EQ(report.find("k3"), nullptr);
  EXPECT_TRUE(checkPtxasReport(report).ok());
}

TEST(PtxasReport, SpillsAreRefused) {
  PtxasReport report = parsePtxasReport(spills);
  ASSERT_TRUE(report.find("spills"));
  EXPECT_EQ(report.find("spills")->stackBytes, 168);
  EXPECT_EQ(checkPtxasReport(report).message(),
            "kernel 'spills' expects no spills, got 164 bytes of stores and 160 of loads with 24 "
            "registers");
}

TEST(PtxasReport, StackFramesOfCalledFunctionsAreRefused) {
  PtxasReport report = parsePtxasReport(stackFrame);
  EXPECT_EQ(report.find("k")->registers, 10);
  EXPECT_EQ(report.find("k")->stackBytes, 0);
  EXPECT_EQ(checkPtxasReport(report).message(),
            "function 'helper' expects no stack frame, got 4096 bytes");
}

TEST(PtxasReport, LossesButC7519AreRefused) {
  PtxasReport report = parsePtxasReport(losses);
  ASSERT_EQ(report.losses.size(), 1u);
  EXPECT_NE(report.losses.front().find("(C7517)"), std::string::npos);
  EXPECT_EQ(checkPtxasReport(report).message(),
            "expects no performance loss, got '" + report.losses.front() + "'");
}

TEST(PtxasReport, ErrorsAreLines) { EXPECT_EQ(parsePtxasReport(errors).errors.size(), 3u); }

TEST(PtxasReport, StrangeTextsGiveNothing) {
  for (const char *text : {"", "\n\n", "ptxas info    : Used 8 registers", "0 bytes stack frame",
                           "Compiling entry function '", "Used 99999999999999999999999 registers"})
    EXPECT_TRUE(parsePtxasReport(text).functions.empty()) << text;
}

TEST(FindPtxas, NowhereIsAnErrorThatSaysWhatToInstall) {
  for (const PtxasPlaces &places :
       {PtxasPlaces{std::nullopt, {}}, PtxasPlaces{std::nullopt, {"/nonexistent"}},
        PtxasPlaces{"", {"/usr/local/cuda/bin"}}}) {
    Result<Ptxas> found = findPtxas(places);
    ASSERT_FALSE(found.ok());
    EXPECT_EQ(found.status().code(), StatusCode::NotFound);
    EXPECT_NE(found.status().message().find("run scripts/setup --cuda"), std::string::npos);
  }
}

TEST(FindPtxas, AWrongVariableIsAnErrorOfItsOwn) {
  Result<Ptxas> found = findPtxas({"/nonexistent/ptxas", {"/usr/local/cuda/bin"}});
  EXPECT_EQ(found.status().code(), StatusCode::InvalidArgument);
  EXPECT_EQ(found.status().message(),
            "expects MOHD_PTXAS to be the path of ptxas, got '/nonexistent/ptxas'");
}
