// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The JSON wrapper: what other readers let through, it refuses.
#include "mohd/format/json.h"

#include <gtest/gtest.h>

using namespace mohdrt;

namespace {

JsonValue parsed(const std::string &text) {
  Result<JsonValue> value = parseJson(text);
  EXPECT_TRUE(value.ok()) << value.status().message();
  return value.ok() ? *value : JsonValue();
}

std::string refusalOf(const std::string &text, const JsonLimits &limits = JsonLimits()) {
  Result<JsonValue> value = parseJson(text, limits);
  EXPECT_FALSE(value.ok()) << text.substr(0, 100);
  EXPECT_EQ(value.status().code(), StatusCode::Malformed);
  return value.ok() ? "" : value.status().message();
}

bool contains(const std::string &text, const std::string &part) {
  return text.find(part) != std::string::npos;
}

TEST(Json, CanonicalFormSortsAndRoundTrips) {
  JsonValue value = parsed("{ \"b\" : [1, true, null], \"a\" : \"x\\n\\u00e9\\\"\" }");
  const std::string text = *writeCanonicalJson(value);
  EXPECT_EQ(text, "{\"a\":\"x\\u000a\xc3\xa9\\\"\",\"b\":[1,true,null]}");
  EXPECT_TRUE(isCanonicalJson(parsed(text), text));
  EXPECT_FALSE(isCanonicalJson(parsed(text), text + " "));
  EXPECT_FALSE(isCanonicalJson(parsed("{ }"), "{ }"));
}

TEST(Json, FractionsHaveNoCanonicalForm) {
  Result<std::string> text = writeCanonicalJson(parsed("{\"a\":[0,1.5]}"));
  ASSERT_FALSE(text.ok());
  EXPECT_TRUE(contains(text.status().message(), "at '/a/1'"));
  EXPECT_EQ(writeCompactJson(parsed("[0.1,1e300,2.0]")), "[0.1,1e+300,2.0]");
}

TEST(Json, PrettyForm) {
  EXPECT_EQ(writePrettyJson(parsed("{\"a\":[1,{}],\"b\":[]}")),
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}");
}

TEST(Json, MillionBracketsAreRefused) {
  EXPECT_TRUE(contains(refusalOf(std::string(1000000, '[')), "nested deeper than 32"));
  std::string objects;
  for (int i = 0; i < 100000; ++i)
    objects += "{\"a\":";
  EXPECT_TRUE(contains(refusalOf(objects), "nested deeper than 32"));
  EXPECT_TRUE(parseJson(std::string(32, '[') + std::string(32, ']')).ok());
}

TEST(Json, DuplicateKeysAreRefused) {
  EXPECT_EQ(refusalOf("{\"x\":{\"a\":1,\"b\":2,\"a\":3}}"), "at '/x/a': duplicate key");
  EXPECT_TRUE(contains(refusalOf("{\"a\":1,\"\\u0061\":3}"), "duplicate key"));
}

TEST(Json, IntegersKeepTheirValueOrAreRefused) {
  EXPECT_EQ(*parsed("9223372036854775807").asInteger(), INT64_MAX);
  EXPECT_EQ(*parsed("-9223372036854775808").asInteger(), INT64_MIN);
  EXPECT_TRUE(contains(refusalOf("[9223372036854775808]"), "does not fit in 64 bits"));
  EXPECT_TRUE(
      contains(refusalOf("[18446744073709551616]"), "at '/0': integer 18446744073709551616"));
  EXPECT_TRUE(contains(refusalOf("-9223372036854775809"), "does not fit in 64 bits"));
  EXPECT_TRUE(parsed("1.0").asFloat());
  EXPECT_TRUE(parsed("1e3").asFloat());
}

TEST(Json, BadSyntax) {
  for (const char *text : {"", "{", "[1,]", "{\"a\"}", "nul", "01", "+1", "1 2", "'a'", "\"\x01\"",
                           "\"\xff\"", "[1]x", "NaN", "Infinity", "1e999", "// c\n1"})
    EXPECT_FALSE(refusalOf(text).empty()) << text;
  EXPECT_TRUE(contains(refusalOf("[1,]"), "byte 4"));
}

TEST(Json, MessagesCarryNoControlCharacters) {
  for (const std::string &text : {std::string("{\"\\u001b[2J\":1,\"\\u001b[2J\":2}"),
                                  std::string("[\"\x1b[2J\"]"), std::string("\x1b")})
    for (unsigned char c : refusalOf(text))
      EXPECT_TRUE(c >= 0x20 && c != 0x7f);
  EXPECT_EQ(escapeForMessage("a\x1b\x7f\xc2\x9b\xff\xc3\xa9"),
            "a\\u001b\\u007f\\u009b\\u00ff\xc3\xa9");
}

TEST(Json, Limits) {
  JsonLimits limits;
  limits.maxBytes = 10;
  EXPECT_TRUE(contains(refusalOf("[1,2,3,4,5,6]", limits), "at most 10"));
  limits = JsonLimits();
  limits.maxToken = 100;
  EXPECT_TRUE(
      contains(refusalOf("[\"" + std::string(200, 'a') + "\"]", limits), "longer than 100"));
  EXPECT_TRUE(contains(refusalOf("[" + std::string(200, '1') + "]", limits), "longer than 100"));
  EXPECT_TRUE(parseJson("[" + std::string(300, ' ') + "]", limits).ok());
  limits.maxMemory = 1000;
  std::string many = "[0";
  for (int i = 0; i < 100; ++i)
    many += ",0";
  EXPECT_TRUE(contains(refusalOf(many + "]", limits), "1000 bytes of memory"));
}

TEST(Json, ReaderReportsTheFirstProblemWithItsPlace) {
  JsonValue value = parsed("{\"a\":{\"list\":[1,2,-1,\"x\"]},\"f\":1.5,\"s\":\"t\"}");
  JsonDocument document(value, "config.json");
  const JsonNode list = document.root().member("a").member("list");
  EXPECT_EQ(list.size(), 4u);
  EXPECT_EQ(list.at(1).integer(0), 2);
  EXPECT_EQ(document.root().member("f").number(), 1.5);
  EXPECT_TRUE(document.ok());
  EXPECT_EQ(list.at(2).integer(0), 0);
  EXPECT_EQ(document.status().message(),
            "config.json: at '/a/list/2': expected an integer of at least 0, got -1");
  EXPECT_EQ(document.root().member("s").string(), "") << "reads after a failure are empty";
}

TEST(Json, ReaderKinds) {
  struct Case {
    std::string expected;
    void (*read)(const JsonNode &root);
  };
  const Case cases[] = {
      {"expected integer, got fraction", [](const JsonNode &n) { (void)n.member("f").integer(); }},
      {"expected string, got array", [](const JsonNode &n) { (void)n.member("l").string(); }},
      {"expected boolean, got null", [](const JsonNode &n) { (void)n.member("n").boolean(); }},
      {"expected number, got array", [](const JsonNode &n) { (void)n.member("l").number(); }},
      {"expected array, got fraction", [](const JsonNode &n) { (void)n.member("f").size(); }},
      {"expected object, got array", [](const JsonNode &n) { (void)n.member("l").member("x"); }},
      {"missing key 'zz'", [](const JsonNode &n) { (void)n.member("zz"); }},
      {"unknown key", [](const JsonNode &n) { n.refuseUnknownKeys({"f", "l"}); }},
  };
  const JsonValue value = parsed("{\"f\":1.5,\"l\":[],\"n\":null}");
  for (const Case &c : cases) {
    JsonDocument document(value, "t");
    c.read(document.root());
    EXPECT_TRUE(contains(document.status().message(), c.expected)) << document.status().message();
  }
}

TEST(Json, ValuesAreBuiltInOrder) {
  JsonValue value;
  value.set("b", 1);
  value.set("a", "x");
  value.set("b", JsonValue::array());
  EXPECT_EQ(*writeCanonicalJson(value), "{\"a\":\"x\",\"b\":[]}");
  EXPECT_EQ(*value.find("a")->asString(), "x");
  EXPECT_EQ(value.find("c"), nullptr);
}

} // namespace
