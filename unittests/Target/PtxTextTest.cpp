// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Checks on PTX texts as LLVM writes them.
#include "mohd/Target/PtxText.h"

#include <gtest/gtest.h>

using namespace mlir::mohd;

static GpuKernel kernel(std::vector<std::string> instructions = {}) {
  GpuKernel result;
  result.name = "k";
  result.instructions = std::move(instructions);
  return result;
}

static std::string entry(const std::string &body) {
  return ".version 8.6\n.target sm_90a\n\n\t// .globl\tk\n.visible .entry k(\n\t.param .u64 "
         "k_param_0\n)\n.reqntid 128\n{\n" +
         body + "\tret;\n\n}\n";
}

TEST(PtxText, InstructionsAreFoundByTheirFirstParts) {
  const char *code = "\t@%p1 mma.sync.aligned.m16n8k16.row.col {%r1};\n\tst.global.b32 [%rd1];\n";
  EXPECT_TRUE(hasInstruction(code, "mma.sync"));
  EXPECT_TRUE(hasInstruction(code, "st"));
  EXPECT_FALSE(hasInstruction(code, "mma.syn"));
  EXPECT_FALSE(hasInstruction("wmma.mma.sync.aligned;", "mma.sync"));
  EXPECT_FALSE(hasInstruction(code, "global"));
  EXPECT_TRUE(hasInstruction("{wgmma.mma_async.sync", "wgmma.mma_async.sync"));
}

TEST(PtxText, InlineAssemblyHasBracesOfItsOwn) {
  EXPECT_TRUE(checkPtx(entry("{\n.reg .pred p;\nwait: bra wait;\n}\n\tmma.sync.aligned;\n"),
                       {kernel({"mma.sync"})})
                  .ok());
}

TEST(PtxText, AnInstructionInACommentIsNone) {
  EXPECT_EQ(checkPtx(entry("\t// mma.sync.aligned;\n"), {kernel({"mma.sync", "ret"})}).message(),
            "kernel 'k' expects instruction 'mma.sync', got none");
}

TEST(PtxText, AMissingKernelIsAnError) {
  EXPECT_EQ(checkPtx(".version 8.6\n", {kernel()}).message(),
            "expects kernel 'k' in the PTX, got none");
}

TEST(PtxText, CallsOfUndefinedFunctionsAreErrors) {
  std::string ptx = ".extern .func  (.param .b32 func_retval0) __nv_expf\n(\n\t.param .b32 "
                    "__nv_expf_param_0\n)\n;\n" +
                    entry("\tcall.uni (retval0), \n\t__nv_expf, \n\t(\n\tparam0\n\t);\n");
  EXPECT_EQ(checkPtx(ptx, {kernel()}).message(),
            "kernel 'k' calls '__nv_expf', which no target provides");
}

TEST(PtxText, LocalMemoryIsAnErrorInFunctionsToo) {
  EXPECT_EQ(checkPtx(entry("\t.local .align 16 .b8 \t__local_depot0[64];\n"), {kernel()}).message(),
            "kernel 'k' expects no local memory, got 64 bytes for a thread");
  std::string function = ".func helper(\n\t.param .b64 p\n)\n{\n\t.local .align 4 .b8 d[8];\n}\n";
  EXPECT_EQ(checkPtx(function + entry(""), {kernel()}).message(),
            "function 'helper' expects no local memory, got 8 bytes for a thread");
}
