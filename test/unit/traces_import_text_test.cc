// The small parsers below the importers: decimals, times, quantities, JSON with lines, tables
// without a header.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/traces_import_util.h"
#include "traces/decimal.h"
#include "traces/json_records.h"
#include "traces/kube_quantity.h"
#include "traces/wall_clock.h"

namespace basalt::trace {
namespace {

std::string Times(std::string_view text, std::int64_t factor) {
  Decimal out;
  switch (ParseDecimal(text, factor, &out)) {
    case DecimalFault::kNone:
      return std::to_string(out.value) + (out.rounded ? "~" : "");
    case DecimalFault::kTooLarge:
      return "large";
    default:
      return "no";
  }
}

TEST(Decimal, ExactAndRounded) {
  EXPECT_EQ(Times("600.0", 10), "6000");
  EXPECT_EQ(Times("29.296875", 1024), "30000");
  EXPECT_EQ(Times("1171.8798828125", 1024), "1200005");
  EXPECT_EQ(Times("475.00000000000006", 1'000'000), "475000000~");
  EXPECT_EQ(Times("2029855.0000000002", 1'000'000), "2029855000000~");
  EXPECT_EQ(Times("0.0000005", 1'000'000), "1~");
  EXPECT_EQ(Times("0.00000049", 1'000'000), "0~");
  EXPECT_EQ(Times("1.5e-05", 1'000'000), "15");
  EXPECT_EQ(Times("1e+06", 1), "1000000");
  EXPECT_EQ(Times("2E3", 7), "14000");
  EXPECT_EQ(Times("-1", 10), "-10");
  EXPECT_EQ(Times("-0.5", 1), "-1~");
  EXPECT_EQ(Times("+3", 1), "3");
  EXPECT_EQ(Times(".5", 10), "5");
  EXPECT_EQ(Times("5.", 10), "50");
  EXPECT_EQ(Times("000000000000000000000000001", 1), "1");
  EXPECT_EQ(Times("0.000000000000000000000000000000000001", 1), "0~");
  EXPECT_EQ(Times("0e99", 1), "0");
  EXPECT_EQ(Times("9223372036854775807", 1), "9223372036854775800~");  // 18 digits count
}

TEST(Decimal, Refused) {
  for (const char* text : {"", "-", ".", "x", "1x", "1e", "1e+", "1e999", "1 ", " 1", "0x10", "inf",
                           "1.2.3", "1,5", "--1", "+-1"}) {
    EXPECT_EQ(Times(text, 10), "no") << text;
  }
  EXPECT_EQ(Times("9223372036854775808000", 1), "large");
  EXPECT_EQ(Times("1e99", 1), "large");
  EXPECT_EQ(Times("123456789012345678", 1'000'000), "large");
  EXPECT_EQ(Times(std::string(500, '9'), 1), "large");
}

TEST(WallClock, InstantsAndClocks) {
  std::int64_t us = 0;
  ASSERT_TRUE(ParseInstant("2023-03-01 00:18:22+08:00", &us));
  EXPECT_EQ(FormatInstant(us), "2023-02-28T16:18:22Z");
  ASSERT_TRUE(ParseInstant("2026-11-21T02:30:21.123456789Z", &us));
  EXPECT_EQ(FormatInstant(us), "2026-11-21T02:30:21.123456Z");
  ASSERT_TRUE(ParseInstant("1969-12-31T23:59:59.5-00:30", &us));
  EXPECT_EQ(FormatInstant(us), "1970-01-01T00:29:59.5Z");
  ASSERT_TRUE(ParseInstant("0000-01-01T00:00:00+00:00", &us));
  EXPECT_EQ(FormatInstant(us), "0000-01-01T00:00:00Z");
  for (const char* text :
       {"2026-11-21T02:30:21", "2026-11-21T02:30:21z", "2026-02-30T00:00:00Z", "2026-11-21",
        "2026-11-21T02:30:21.Z", "2026-11-21T02:30:21.1234567890Z", "2026-11-21T02:30:21+8:00",
        "2026-11-21T02:30:21+24:00", "2026-11-21T02:30:21+08:60", "2026-11-21T02:30:21+08:00x"}) {
    EXPECT_FALSE(ParseInstant(text, &us)) << text;
  }
  std::int64_t seconds = 0;
  ASSERT_TRUE(ParseWallClock("1970-01-02 00:00:01", &seconds));
  EXPECT_EQ(seconds, 86'401);
  EXPECT_FALSE(ParseWallClock("2017-02-29 00:00:00", &seconds));
}

std::string Milli(std::string_view text, Round round = Round::kUp) {
  std::int64_t value = 0;
  bool exact = true;
  if (!ParseQuantity(text, 1000, 1, round, &value, &exact)) return "no";
  return std::to_string(value) + (exact ? "" : "~");
}

std::string Mebi(std::string_view text, Round round) {
  std::int64_t value = 0;
  bool exact = true;
  if (!ParseQuantity(text, 1, 1 << 20, round, &value, &exact)) return "no";
  return std::to_string(value) + (exact ? "" : "~");
}

TEST(Quantity, AsKubernetesReadsThem) {
  EXPECT_EQ(Milli("500m"), "500");
  EXPECT_EQ(Milli("64"), "64000");
  EXPECT_EQ(Milli("1.5"), "1500");
  EXPECT_EQ(Milli("100u"), "1~");
  EXPECT_EQ(Milli("100u", Round::kDown), "0~");
  EXPECT_EQ(Milli("2k"), "2000000");
  EXPECT_EQ(Milli("1e3"), "1000000");
  EXPECT_EQ(Milli("1E-3"), "1");
  EXPECT_EQ(Milli("1E"), "no");  // an exa of milli-cores is more than 64 bits
  EXPECT_EQ(Mebi("16Gi", Round::kUp), "16384");
  EXPECT_EQ(Mebi("1Ei", Round::kUp), "1099511627776");
  EXPECT_EQ(Mebi("100M", Round::kUp), "96~");
  EXPECT_EQ(Mebi("100M", Round::kDown), "95~");
  EXPECT_EQ(Mebi("263870112Ki", Round::kDown), "257685~");
  EXPECT_EQ(Mebi("1048576", Round::kUp), "1");
  for (const char* text : {"", "m", "-1", "1mi", "1 Gi", "1GI", "1e", "1e100", ".", "1.2.3",
                           "99999999999999999999", "9Ei9"}) {
    EXPECT_EQ(Milli(text), "no") << text;
  }
}

struct Got {
  std::vector<std::string> records;
  std::string fault;
};

Got Records(std::string_view text) {
  Got got;
  Diagnostics d;
  const SourceText source{"f", std::string(text)};
  const bool good = ReadJsonRecords(source, &d, [&](const JsonValue& record) {
    got.records.push_back(std::to_string(record.line) + ToJson(record));
  });
  EXPECT_EQ(good, d.ok());
  if (!d.ok()) got.fault = OnlyError(d);
  return got;
}

TEST(JsonRecords, ListsArraysAndSingleObjects) {
  EXPECT_THAT(Records("[{\"a\":1},\n {\"b\":[true,null,\"x\\n\",-1.5e3]}]").records,
              testing::ElementsAre("1{\"a\":1}", "2{\"b\":[true,null,\"x\\n\",-1500.0]}"));
  EXPECT_THAT(
      Records("{\"kind\":\"List\",\"items\":[\n{\"a\":1}\n,{\"a\":{\"items\":[{}]}}]}").records,
      testing::ElementsAre("2{\"a\":1}", "3{\"a\":{\"items\":[{}]}}"));
  EXPECT_THAT(Records("\n\n{\"kind\":\"Node\"}\n").records,
              testing::ElementsAre("3{\"kind\":\"Node\"}"));
  EXPECT_THAT(Records("[]").records, testing::IsEmpty());
  EXPECT_THAT(Records("{\"items\":[]}").records, testing::IsEmpty());
  EXPECT_EQ(Records("[]").fault, "");
}

TEST(JsonRecords, FaultsHaveTheirLine) {
  EXPECT_EQ(Records("[{\"a\":1},\n{\"a\" 2}]").fault,
            "f:2: not valid JSON; look for a missing comma, quote or brace just before");
  EXPECT_EQ(Records("[{\"a\":\n1}").fault,
            "f:2: not valid JSON; look for a missing comma, quote or brace just before");
  EXPECT_EQ(Records("apiVersion: v1\n").fault,
            "f:1: not JSON: it does not start with { or [; of kubectl's output write -o json");
  EXPECT_EQ(Records("\n\n").fault,
            "f:1: not JSON: it does not start with { or [; of kubectl's output write -o json");
  EXPECT_EQ(Records("[{},\n3]").fault, "f:2: is not an object {...}; each record must be one");
  EXPECT_EQ(Records("{\"a\":\n\"\\u0000\"}").fault,
            "f:2: a NUL character in a string; remove the \\u0000");
  EXPECT_EQ(Records("{\"a\":" + std::string(100, '[')).fault,
            "f:1: nested deeper than 64 levels; this is not such a file");
  EXPECT_EQ(Records("{\"a\":1e999}").fault,
            "f:1: not valid JSON; look for a missing comma, quote or brace just before");
  EXPECT_EQ(Records("{\"a\":\"\xff\"}").fault.substr(0, 4), "f:1:");
}

TEST(JsonRecords, LinesAndMembers) {
  Diagnostics d;
  const SourceText source{"f", "{\"a\": 1,\n\"b\": {\n\"c\": \"x\", \"c\": \"y\"},\n\"n\": 12\n}"};
  ReadJsonRecords(source, &d, [](const JsonValue& record) {
    EXPECT_EQ(record.line, 1U);
    EXPECT_EQ(record.Find("b")->line, 2U);
    EXPECT_EQ(record.At({"b", "c"})->line, 3U);
    EXPECT_EQ(record.TextAt({"b", "c"}), "y");  // the last one, as elsewhere
    EXPECT_EQ(record.Find("n")->line, 4U);      // although a number ends at the next line's start
    EXPECT_EQ(record.TextAt({"n"}), "");        // no string
    EXPECT_EQ(record.At({"a", "b"}), nullptr);
  });
  EXPECT_TRUE(d.ok()) << d.ToString();
}

TEST(Csv, WithoutAHeader) {
  constexpr std::array<CsvColumn, 2> kColumns = {{{"a"}, {"b"}}};
  const auto read = [&](std::string_view text, Diagnostics* d) {
    CsvReader reader("f", text, kColumns, d);
    std::vector<std::string> out;
    if (!reader.ReadWithoutHeader()) return out;
    while (reader.Next()) {
      out.push_back(std::to_string(reader.line()) + reader.String(0) + reader.String(1));
    }
    return out;
  };
  Diagnostics d;
  EXPECT_THAT(read("x,y\nz,\n", &d), testing::ElementsAre("1xy", "2z"));
  EXPECT_THAT(read("a,b\r\nz,w", &d), testing::ElementsAre("2zw"));
  EXPECT_THAT(read("b,a\n", &d), testing::ElementsAre("1ba"));
  EXPECT_THAT(read("", &d), testing::IsEmpty());
  EXPECT_TRUE(d.ok()) << d.ToString();
  EXPECT_THAT(read("x\nx,y\n", &d), testing::ElementsAre("2xy"));
  EXPECT_EQ(OnlyError(d),
            "f:1:1: 1 field, but the header has 2 columns; quote fields that contain commas");
}

}  // namespace
}  // namespace basalt::trace
