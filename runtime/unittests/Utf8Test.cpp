// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which bytes are UTF-8.
#include "mohd/format/json.h"

#include <gtest/gtest.h>

#include <string>

using mohdrt::findInvalidUtf8;

TEST(Utf8, ValidTextHasNoInvalidByte) {
  for (std::string text : {"", "abc", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
                           "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf",
                           "a\xe2\x82\xac"
                           "b"})
    EXPECT_EQ(findInvalidUtf8(text), std::string::npos) << text;
}

TEST(Utf8, FindsTheFirstInvalidByte) {
  // A lone continuation, overlong forms, surrogates, beyond U+10FFFF, cut sequences.
  for (std::string bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc2", "\xe2\x82", "\xf0\x9f\x98",
        "\xe2"
        "a\x82"}) {
    EXPECT_EQ(findInvalidUtf8("ab" + bad), 2u);
    EXPECT_EQ(findInvalidUtf8(bad + "ab"), 0u);
  }
}
