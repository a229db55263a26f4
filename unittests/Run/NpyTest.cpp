// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// .npy files: what is written is read back, and what is damaged is refused.
#include "Npy.h"
#include "Failure.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

using namespace mohdrt;
using namespace mohdrun;
using mohdtool::Failure;

namespace {

class NpyTest : public ::testing::Test {
protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "mohd-npy-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    path_ = folder_ + "/x.npy";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(const std::string &bytes) { std::ofstream(path_, std::ios::binary) << bytes; }

  std::string written() const {
    std::ifstream file(path_, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  /// A version 1.0 file with this dict and these bytes of data.
  static std::string npy(const std::string &dict, size_t dataBytes) {
    std::string text = dict + "\n";
    std::string file("\x93NUMPY\x01\x00", 8);
    file += static_cast<char>(text.size() & 0xff);
    file += static_cast<char>(text.size() >> 8);
    return file + text + std::string(dataBytes, '\0');
  }

  /// The exit code with which `bytes` are refused; 0 if they are read.
  int refusal(const std::string &bytes) {
    write(bytes);
    try {
      readNpy(path_);
      return 0;
    } catch (const Failure &failure) {
      message_ = failure.message;
      return failure.exitCode;
    }
  }

  std::string folder_, path_, message_;
};

TEST_F(NpyTest, EveryTypeComesBack) {
  for (const char *text :
       {"2x3xf32=1,2,3,nan,inf,-0", "3xf64=1e+300,2,3", "2xf16=0.5,inf", "2xbf16=1,-3",
        "2xi8=-128,127", "1x1x2xi32=1,2", "2xi64=-9223372036854775808,5", "f32=7", "0x4xf32="}) {
    writeNpy(path_, parseTensor("x", text, std::nullopt));
    EXPECT_EQ(toString(readNpy(path_)), text);
    EXPECT_EQ(written().find('\n') % 64, 63u) << text; // the data is aligned
  }
}

TEST_F(NpyTest, UnsignedShortsAreBf16WhereThatIsExpected) {
  write(npy("{'descr': '<u2', 'fortran_order': False, 'shape': (1,), }", 0) +
        std::string("\x80\x3f", 2));
  EXPECT_EQ(toString(readNpy(path_, DType::BF16)), "1xbf16=1");
  EXPECT_EQ(refusal(written()), 3);
}

TEST_F(NpyTest, KeysMayComeInAnyOrder) {
  EXPECT_EQ(refusal(npy("{'shape': (2, 1), 'descr': '<f4', 'fortran_order': False}", 8)), 0);
}

TEST_F(NpyTest, RefusesEveryTruncationAndAddition) {
  std::string good = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", 12);
  ASSERT_EQ(refusal(good), 0);
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_EQ(refusal(good.substr(0, size)), 3) << size;
  EXPECT_EQ(refusal(good + "x"), 3);
}

TEST_F(NpyTest, RefusesDamagedHeaders) {
  const char *dicts[] = {
      "",
      "{}",
      "{'descr': '<f4', 'fortran_order': False}",
      "{'descr': '<f4', 'descr': '<f4', 'shape': (1,)}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x",
      "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1)}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1 1)}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1,",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1, 1, 1, 1)}",
      "{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}",
      "{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}",
      "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
  };
  for (const char *dict : dicts)
    EXPECT_EQ(refusal(npy(dict, 4)), 3) << dict;
}

TEST_F(NpyTest, RefusesSizesThatDoNotFitBeforeTheyAreAllocated) {
  EXPECT_EQ(refusal(npy(
                "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}", 4)),
            3);
  EXPECT_NE(message_.find("expected fewer than 2^63 bytes of data"), std::string::npos) << message_;
  EXPECT_EQ(refusal(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}", 4)),
            3);
  EXPECT_NE(message_.find("expected 4000000000000 bytes of data"), std::string::npos) << message_;
}

TEST_F(NpyTest, RefusesFortranOrderWithAdvice) {
  write(npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", 4));
  try {
    readNpy(path_);
    FAIL() << "was read";
  } catch (const Failure &failure) {
    EXPECT_EQ(failure.message, "expected an array in C order, got Fortran order");
    EXPECT_EQ(failure.hint, "save numpy.ascontiguousarray(array)");
  }
}

TEST_F(NpyTest, RefusesLongHeadersAndUnknownVersions) {
  std::string file("\x93NUMPY\x02\x00\xff\xff\xff\x7f", 12);
  EXPECT_EQ(refusal(file + std::string(100, ' ')), 3);
  EXPECT_EQ(refusal(std::string("\x93NUMPY\x04\x00\x10\x00", 10) + std::string(100, ' ')), 3);
  EXPECT_NE(message_.find("got 4.0"), std::string::npos) << message_;
}

TEST_F(NpyTest, AFailedWriteLeavesNothing) {
  EXPECT_THROW(writeNpy(folder_ + "/absent/x.npy", parseTensor("x", "f32=1", std::nullopt)),
               Failure);
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

} // namespace
