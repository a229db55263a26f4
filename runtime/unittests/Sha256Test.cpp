// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SHA-256 against the vectors of FIPS 180-4 and NIST's CAVP.
#include "mohd/format/sha256.h"

#include <gtest/gtest.h>

using namespace mohdrt;

namespace {

std::string hashOf(const std::string &text) { return toHex(sha256(text.data(), text.size())); }

TEST(Sha256, EmptyMessage) {
  EXPECT_EQ(hashOf(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Sha256, OneBlock) {
  EXPECT_EQ(hashOf("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, PaddingNeedsASecondBlock) {
  EXPECT_EQ(hashOf("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Sha256, TwoBlocks) {
  EXPECT_EQ(hashOf("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
                   "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu"),
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
}

TEST(Sha256, MillionLettersInUnevenPieces) {
  const std::string text(1000000, 'a');
  Sha256 hash;
  for (size_t at = 0, piece = 1; at < text.size(); at += piece, piece = piece % 200 + 1)
    hash.update(text.data() + at, std::min(piece, text.size() - at));
  EXPECT_EQ(toHex(hash.finish()),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// Every length around the block size, in one piece and byte by byte.
TEST(Sha256, PiecesDoNotMatter) {
  for (size_t length = 0; length < 200; ++length) {
    std::string text;
    for (size_t i = 0; i < length; ++i)
      text += char(i * 7);
    Sha256 hash;
    for (char c : text)
      hash.update(&c, 1);
    EXPECT_EQ(toHex(hash.finish()), hashOf(text)) << length;
  }
}

// The CPU's instructions, where it has them, against the loops.
TEST(Sha256, PortableAndFastestAgree) {
  std::string text;
  for (int i = 0; i < 10000; ++i)
    text += char(i * i / 7);
  for (size_t length : {0, 55, 64, 128, 1000, 10000}) {
    Sha256 portable(/*portable=*/true);
    portable.update(text.data(), length);
    EXPECT_EQ(toHex(portable.finish()), hashOf(text.substr(0, length))) << length;
  }
}

TEST(Sha256, ParseAcceptsOnlyLowerCaseHex) {
  const std::string hex = hashOf("abc");
  ASSERT_TRUE(parseSha256(hex));
  EXPECT_EQ(toHex(*parseSha256(hex)), hex);
  EXPECT_FALSE(parseSha256(hex.substr(1)));
  EXPECT_FALSE(parseSha256("B" + hex.substr(1)));
  EXPECT_FALSE(parseSha256("g" + hex.substr(1)));
}

} // namespace
