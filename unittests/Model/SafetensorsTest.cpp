// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The safetensors header: what is accepted, each refusal with its message, damaged files, and
// memory use.

#include "mohd/Model/Safetensors.h"
#include "AllocationMeter.h"

#include <cstring>
#include <gtest/gtest.h>
#include <random>

using namespace mlir::mohd;

namespace {

std::string withHeader(const std::string &header, size_t dataBytes) {
  std::string file(8, '\0');
  for (int i = 0; i < 8; ++i)
    file[static_cast<size_t>(i)] =
        static_cast<char>(static_cast<uint64_t>(header.size()) >> (8 * i));
  return file + header + std::string(dataBytes, '\x3c');
}

std::string refusal(const std::string &file) {
  Result<std::vector<StoredTensor>> result = parseSafetensors(file, "w.safetensors");
  return result.ok() ? "accepted" : result.status().message();
}

std::string headerRefusal(const std::string &header, size_t dataBytes) {
  return refusal(withHeader(header, dataBytes));
}

void expectRefusal(const std::string &header, size_t dataBytes, const std::string &part) {
  std::string message = headerRefusal(header, dataBytes);
  EXPECT_EQ(message.rfind("w.safetensors: ", 0), 0u) << message;
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

const char *kTwoTensors = R"({"__metadata__":{"format":"pt"},)"
                          R"("b":{"dtype":"BF16","shape":[3],"data_offsets":[24,30]},)"
                          R"("a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}  )";

TEST(Safetensors, ReadsTensorsInFileOrder) {
  std::string file = withHeader(kTwoTensors, 30);
  Result<std::vector<StoredTensor>> tensors = parseSafetensors(file, "w.safetensors");
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  ASSERT_EQ(tensors->size(), 2u);
  const StoredTensor &a = (*tensors)[0], &b = (*tensors)[1];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.type, DType::F32);
  EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(a.offset, file.size() - 30);
  EXPECT_EQ(a.size, 24u);
  EXPECT_EQ(b.type, DType::BF16);
  EXPECT_EQ(b.offset, file.size() - 6);
}

TEST(Safetensors, ScalarsEmptyTensorsAndEmptyFilesAreLegal) {
  EXPECT_EQ(headerRefusal(R"({"s":{"dtype":"F16","shape":[],"data_offsets":[0,2]}})", 2),
            "accepted");
  EXPECT_EQ(headerRefusal(R"({"e":{"dtype":"F32","shape":[4,0],"data_offsets":[0,0]},)"
                          R"("s":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})",
                          2),
            "accepted");
  EXPECT_EQ(headerRefusal("{}", 0), "accepted");
}

TEST(Safetensors, HeaderLength) {
  EXPECT_NE(refusal("1234567").find("has 7 bytes, expected at least 8"), std::string::npos);
  std::string huge = withHeader("{}", 0);
  huge[3] = 0x06; // 100,663,298
  EXPECT_NE(refusal(huge).find("header of 100663298 bytes, expected at most 100000000"),
            std::string::npos)
      << refusal(huge);
  std::string pastEnd = withHeader("{}", 0);
  pastEnd[0] = 3;
  EXPECT_NE(refusal(pastEnd).find("header of 3 bytes, expected at most the 2"), std::string::npos)
      << refusal(pastEnd);
  std::string all = withHeader("{}", 0);
  std::memset(all.data(), 0xff, 8);
  EXPECT_NE(refusal(all).find("expected at most 100000000"), std::string::npos);
  EXPECT_NE(refusal(withHeader("", 0)).find("first byte"), std::string::npos);
}

TEST(Safetensors, HeaderMustBeAnObjectFromItsFirstByte) {
  expectRefusal(" {}", 0, "first byte");
  expectRefusal("[]", 0, "first byte");
  expectRefusal("{} x", 0, "");
  expectRefusal(R"({"a":)", 0, "");
}

TEST(Safetensors, EntryFields) {
  expectRefusal(R"({"a":[]})", 0, "/a");
  expectRefusal(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4, "dtype");
  expectRefusal(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "shape");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1]}})", 4, "data_offsets");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4, "/a");
  expectRefusal(R"({"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}})", 8, "/a/dtype");
  expectRefusal(R"({"a":{"dtype":"f32","shape":[1],"data_offsets":[0,4]}})", 4, "/a/dtype");
  expectRefusal(R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4, "/a/shape");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "/a/shape/0");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "/a/shape/0");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}})", 4, "/a/shape/0");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "/a/data_offsets");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4,
                "/a/data_offsets");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})", 4,
                "/a/data_offsets/0");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551616]}})", 4,
                "/a/data_offsets/1");
  expectRefusal(R"({"__metadata__":{"format":1}})", 0, "/__metadata__");
  expectRefusal(R"({"__metadata__":[]})", 0, "/__metadata__");
}

TEST(Safetensors, Ranks) {
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4,
                "rank");
  EXPECT_EQ(
      headerRefusal(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4),
      "accepted");
}

TEST(Safetensors, SizesThatOverflow) {
  expectRefusal(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
                "/a/shape");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0,
                "/a/shape");
  expectRefusal(R"({"a":{"dtype":"BF16","shape":[9223372036854775807,2],"data_offsets":[0,4]}})", 4,
                "/a/shape");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[9223372036854775807,9,0],"data_offsets":[0,0]}})",
                0, "/a/shape");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4,
                "/a/shape/0");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,9223372036854775807]}})", 4,
                "/a/data_offsets");
}

TEST(Safetensors, OffsetsAndShapesMustAgree) {
  expectRefusal(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "expected 8 bytes");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "/a/data_offsets");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 3, "/a/data_offsets");
  // Zero elements with bytes, and elements with zero bytes.
  expectRefusal(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,4]}})", 4, "expected 0 bytes");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,0]}})", 0, "expected 4 bytes");
  // A zero-size tensor off the seam between its neighbours.
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                R"("e":{"dtype":"F32","shape":[0],"data_offsets":[2,2]}})",
                4, "overlaps");
  expectRefusal(R"({"e":{"dtype":"F32","shape":[0],"data_offsets":[9,9]}})", 0, "/e/data_offsets");
}

TEST(Safetensors, TensorsMustCoverTheDataOnce) {
  expectRefusal(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                8, "overlaps");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                R"("b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
                12, "gap");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "gap");
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 5,
                "1 bytes after the last tensor");
  expectRefusal("{}", 1, "1 bytes after the last tensor");
}

TEST(Safetensors, DuplicateNames) {
  expectRefusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                8, "duplicate");
  expectRefusal(R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
                "duplicate");
}

TEST(Safetensors, EveryTruncationIsRefused) {
  std::string file = withHeader(kTwoTensors, 30);
  ASSERT_EQ(refusal(file), "accepted");
  for (size_t size = 0; size < file.size(); ++size)
    EXPECT_NE(refusal(file.substr(0, size)), "accepted") << size;
}

TEST(Safetensors, BitFlipsNeverBreakTheInvariants) {
  std::string file = withHeader(kTwoTensors, 30);
  std::mt19937_64 random(2024);
  int accepted = 0;
  for (int round = 0; round < 10000; ++round) {
    std::string damaged = file;
    for (uint64_t flips = 1 + random() % 3; flips > 0; --flips) {
      uint64_t bit = random() % (8 * (file.size() - 30));
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    }
    Result<std::vector<StoredTensor>> tensors = parseSafetensors(damaged, "w.safetensors");
    if (!tensors.ok()) {
      EXPECT_FALSE(tensors.status().message().empty());
      continue;
    }
    ++accepted; // a flip within a name or the metadata is no damage that can be seen
    uint64_t end = damaged.size() - 30;
    for (const StoredTensor &tensor : *tensors) {
      int64_t count = 1;
      for (int64_t extent : tensor.shape)
        count *= extent;
      EXPECT_EQ(tensor.offset, end);
      EXPECT_EQ(tensor.size, static_cast<uint64_t>(count * ::mohdrt::dtypeSize(tensor.type)));
      end += tensor.size;
    }
    EXPECT_EQ(end, damaged.size());
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, 5000);
}

void expectBoundedMemory(const std::string &header) {
  std::string file = withHeader(header, 0);
  AllocationMeter meter;
  std::string message = refusal(file);
  EXPECT_NE(message, "accepted");
  EXPECT_LT(message.size(), 4096u);
  EXPECT_LE(meter.peak(), size_t(16 << 20)) << message;
}

TEST(Safetensors, HostileHeadersDoNotOverAllocate) {
  size_t count = 4 << 20;
  std::string ones = R"({"a":[)", objects = "{", empties = R"({"a":[)";
  for (size_t i = 0; i < count; ++i) {
    ones += "1,";
    empties += "[],";
    if (i < count / 8)
      objects += "\"" + std::to_string(i) + "\":{},";
  }
  expectBoundedMemory(ones + "1]}");
  expectBoundedMemory(empties + "[]]}");
  expectBoundedMemory(objects + "\"x\":{}}");
  expectBoundedMemory("{" + std::string(count, '['));
  expectBoundedMemory(R"({"a":)" + std::string(1000000, '[') + std::string(1000000, ']') + "}");
  expectBoundedMemory("{\"" + std::string(count * 4, 'a') + "\":1}");
  expectBoundedMemory(R"({"a":")" + std::string(count * 4, 'a') + "\"}");
  expectBoundedMemory(R"({"a":)" + std::string(count * 4, '1') + "}");
}

} // namespace
