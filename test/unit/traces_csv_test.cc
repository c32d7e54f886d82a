#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "test/unit/traces_test_util.h"
#include "traces/csv.h"
#include "traces/trace.h"

namespace basalt::trace {
namespace {

using testing::ElementsAre;

constexpr std::array<CsvColumn, 3> kColumns = {{{"name"}, {"size"}, {"note", false}}};

struct Parsed {
  std::vector<std::string> rows;  // "name/size/note"
  Diagnostics diagnostics;
};

Parsed Parse(std::string_view text) {
  Parsed out;
  CsvReader reader("f", text, kColumns, &out.diagnostics);
  if (!reader.ReadHeader()) return out;
  while (reader.Next()) {
    out.rows.push_back(reader.String(0) + '/' + reader.String(1) + '/' + reader.String(2));
  }
  return out;
}

std::string ErrorOf(std::string_view text) { return OnlyError(Parse(text).diagnostics); }

TEST(Csv, ColumnsByNameInAnyOrder) {
  EXPECT_THAT(Parse("size,name\n1,a\n2,b").rows, ElementsAre("a/1/", "b/2/"));
}

TEST(Csv, CrlfBomEmptyLinesAndMissingLastEndAreFine) {
  const Parsed p = Parse("\xef\xbb\xbfname,size,note\r\n\r\na,1,x\r\n\n\nb,2,\r\n\n");
  EXPECT_TRUE(p.diagnostics.ok());
  EXPECT_THAT(p.rows, ElementsAre("a/1/x", "b/2/"));
}

TEST(Csv, QuotedFields) {
  EXPECT_THAT(
      Parse("\"name\",size,note\n\"a,\"\"b\"\"\",1,\"two\nlines\"\n\"\",\"\",\"\"\"\"\n").rows,
      ElementsAre("a,\"b\"/1/two\nlines", "//\""));
}

// Several fields with doubled quotes at once: views must not move under each other.
TEST(Csv, UnescapedFieldsLiveTogether) {
  Diagnostics d;
  CsvReader reader("f", "name,size,note\n\"\"\"a\",\"\"\"b\",\"\"\"c\"\n", kColumns, &d);
  ASSERT_TRUE(reader.ReadHeader() && reader.Next());
  const std::string_view c = reader.Field(2), a = reader.Field(0), b = reader.Field(1);
  EXPECT_THAT(std::vector({a, b, c}), ElementsAre("\"a", "\"b", "\"c"));
}

TEST(Csv, HeaderFaults) {
  EXPECT_EQ(ErrorOf(""),
            "f:1:1: the file is empty; its first line must name the columns name,size");
  EXPECT_EQ(ErrorOf("name\na\n"), "f:1:1: column \"size\" is missing; add it to the header");
  EXPECT_EQ(ErrorOf("name,size,name\n"),
            "f:1:11: column \"name\" is there twice; remove one of them");
  EXPECT_EQ(ErrorOf("name,size,notes\n"),
            "f:1:11: unknown column \"notes\"; did you mean \"note\"?");
  EXPECT_EQ(ErrorOf("name,size,frequency\n"), "f:1:11: unknown column \"frequency\"; remove it");
  EXPECT_EQ(ErrorOf("name,size,\n"), "f:1:11: unknown column \"\"; remove it");
}

TEST(Csv, WrongFieldCountIsSkippedAndPlaced) {
  const Parsed p = Parse("name,size\na,1\nb\nc,3,4\nd,5\n");
  EXPECT_THAT(p.rows, ElementsAre("a/1/", "d/5/"));
  EXPECT_EQ(p.diagnostics.ToString(),
            "f:3:1: 1 field, but the header has 2 columns; quote fields that contain commas\n"
            "f:4:1: 3 fields, but the header has 2 columns; quote fields that contain commas");
}

TEST(Csv, QuoteFaults) {
  EXPECT_EQ(ErrorOf("name,size\na,\"1\nb,2\n"),
            "f:2:3: the quote that starts here never ends; add a closing \"");
  EXPECT_EQ(ErrorOf("name,size\na\"b,1\n"),
            "f:2:2: a quote inside an unquoted field; put the whole field in quotes and double the "
            "quotes in it");
  EXPECT_EQ(ErrorOf("name,size\n\"a\"b,1\n"),
            "f:2:4: text after a closing quote; double the quotes inside a quoted field");
  EXPECT_EQ(ErrorOf("name,size\na\rb,1\n"),
            "f:2:2: a carriage return without a line feed; end lines with LF or CRLF");
}

TEST(Csv, RowsAfterABadOneAreStillRead) {
  EXPECT_THAT(Parse("name,size\na\"b,1\nc,2\n").rows, ElementsAre("c/2/"));
}

TEST(Csv, LinesCountInsideQuotesAndColumnsCountCharacters) {
  const Parsed p = Parse("name,size\n\"x\ny\",1\n\xc3\xa4\xc3\xb6,\"z\"w\n");
  EXPECT_EQ(OnlyError(p.diagnostics),
            "f:4:7: text after a closing quote; double the quotes inside a quoted field");
}

TEST(Csv, NulIsRefused) {
  EXPECT_EQ(ErrorOf(std::string_view("name,size\na\0,1\n", 15)),
            "f:2:2: a NUL byte; the file is damaged or not text");
}

TEST(Csv, LongQuotedRecordIsRefused) {
  std::string text = "name,size\n\"";
  const std::string line(1 << 20, 'x');
  for (int i = 0; i < 17; ++i) text += line + '\n';
  text += "\",1\nb,2\n";
  const Parsed p = Parse(text);
  EXPECT_EQ(OnlyError(p.diagnostics),
            "f:2:1: the record is longer than 16 MiB; is a closing quote missing?");
  EXPECT_THAT(p.rows, ElementsAre("b/2/"));
}

std::string IntegerFault(std::string_view field, std::int64_t low, std::int64_t high) {
  const std::string text = "name,size\na," + std::string(field) + "\n";
  Diagnostics d;
  CsvReader reader("f", text, kColumns, &d);
  std::int64_t value = -7;
  if (!reader.ReadHeader() || !reader.Next()) return "no row";
  const bool good = reader.Integer(1, low, high, &value);
  return good ? std::to_string(value) : OnlyError(d);
}

TEST(Csv, Integers) {
  EXPECT_EQ(IntegerFault("0", 0, 9), "0");
  EXPECT_EQ(IntegerFault("007", 0, 9), "7");
  EXPECT_EQ(IntegerFault("-3", -9, 9), "-3");
  EXPECT_EQ(IntegerFault("9223372036854775807", 0, INT64_MAX), "9223372036854775807");
  EXPECT_EQ(IntegerFault("-9223372036854775808", INT64_MIN, 0), "-9223372036854775808");
  EXPECT_EQ(IntegerFault("", 0, 9), "f:2:3: size is empty; write a whole number, 0..9");
  EXPECT_EQ(IntegerFault("-1", 0, 9), "f:2:3: size \"-1\" is negative; the range is 0..9");
  EXPECT_EQ(IntegerFault("+1", 0, 9), "f:2:3: size \"+1\" has a sign; write digits only, 0..9");
  EXPECT_EQ(IntegerFault("1.0", 0, 9),
            "f:2:3: size \"1.0\" has a fraction; write a whole number, 0..9");
  EXPECT_EQ(IntegerFault("10", 0, 9), "f:2:3: size \"10\" is out of range; the range is 0..9");
  EXPECT_EQ(IntegerFault("9223372036854775808", 0, 9),
            "f:2:3: size \"9223372036854775808\" is out of range; the range is 0..9");
  for (const char* junk : {"1x", " 1", "1 ", "0x1", "1e3", "--1", "-", "1.", ".5", "NaN"}) {
    EXPECT_EQ(IntegerFault(junk, 0, 9), std::string("f:2:3: size \"") + junk +
                                            "\" is not a whole number; write digits only, 0..9");
  }
}

TEST(Csv, Seconds) {
  const auto us = [](std::string_view text) {
    std::int64_t value = -7;
    EXPECT_EQ(ParseSeconds(text, true, &value), NumberFault::kNone) << text;
    return value;
  };
  EXPECT_EQ(us("0"), 0);
  EXPECT_EQ(us("12.5"), 12'500'000);
  EXPECT_EQ(us("0.000001"), 1);
  EXPECT_EQ(us("-0.5"), -500'000);
  EXPECT_EQ(us("-1.25"), -1'250'000);
  EXPECT_EQ(us("1000000000000"), 1'000'000'000'000'000'000);
  const auto fault = [](std::string_view text, bool negative = true) {
    std::int64_t value = 0;
    return ParseSeconds(text, negative, &value);
  };
  EXPECT_EQ(fault(""), NumberFault::kEmpty);
  EXPECT_EQ(fault("1.0000001"), NumberFault::kTooPrecise);
  EXPECT_EQ(fault("1000000000000.000001"), NumberFault::kTooLarge);
  EXPECT_EQ(fault("99999999999999999999"), NumberFault::kTooLarge);
  EXPECT_EQ(fault("-1", false), NumberFault::kSigned);
  EXPECT_EQ(fault("-0.5", false), NumberFault::kSigned);
  for (const char* junk : {"1.", ".5", "1.x", "1.-5", "1e3", "-", "1.5.5", "+1x"}) {
    EXPECT_EQ(fault(junk), NumberFault::kNotDigits) << junk;
  }
}

TEST(Csv, SecondsAreWrittenAsTheyAreRead) {
  for (const std::int64_t us :
       {std::int64_t{0}, std::int64_t{1}, std::int64_t{-1}, std::int64_t{500'000},
        std::int64_t{-1'250'000}, std::int64_t{1'000'000'000'000'000'000}}) {
    std::string text;
    AppendSeconds(&text, us);
    std::int64_t back = -7;
    ASSERT_EQ(ParseSeconds(text, true, &back), NumberFault::kNone) << text;
    EXPECT_EQ(back, us);
  }
  std::string text;
  AppendSeconds(&text, kUnknownTime);
  EXPECT_EQ(text, "");
}

}  // namespace
}  // namespace basalt::trace
