// Comma-separated text as in RFC 4180: a header is required, columns are found by name in any
// order, every complaint has file:line:column (1-based; the column is the character where the
// field starts). Beyond the RFC: LF or CRLF ends a line, a UTF-8 byte order mark is skipped, empty
// lines are skipped, the last line may lack its end. Refused: NUL, invalid UTF-8, a quote inside
// an unquoted field, text after a closing quote, a lone CR, an unterminated quote, a record with
// another number of fields than the header, an unknown, missing or repeated column.
//
// A record that is wrong is reported and skipped; the caller sees only well-formed ones. Fields
// are views into the text, or into the reader when they had doubled quotes, and live until Next().
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "traces/diagnostics.h"

namespace basalt::trace {

struct CsvColumn {
  std::string_view name;
  bool required = true;
};

class CsvReader {
 public:
  // `name` stands for the file in messages. Text and columns must outlive the reader; a column's
  // number is its place in `columns`.
  CsvReader(std::string name, std::string_view text, std::span<const CsvColumn> columns,
            Diagnostics* diagnostics);

  // Checks the text and reads the header. False when nothing after it can be understood.
  bool ReadHeader();
  // The same for text without a header, as some sources publish: its fields are `columns`, all of
  // them and in their order. A first line that is the header is skipped.
  bool ReadWithoutHeader();
  // Moves to the next well-formed record. False at the end.
  bool Next();

  // Whether the header has this column; the fields of one that is absent are empty.
  bool Has(std::size_t column) const { return place_[column] >= 0; }
  std::string_view Field(std::size_t column) const;
  std::string String(std::size_t column) const { return std::string(Field(column)); }

  // Typed fields. False, with a report, when the field is not of the type or out of [low, high].
  // A whole number is decimal digits with an optional '-' where low < 0; nothing else.
  bool Integer(std::size_t column, std::int64_t low, std::int64_t high, std::int64_t* value);
  // Decimal seconds with at most six digits after the point, as microseconds within
  // +-kMaxTimeUs; a '-' only when `negative` is allowed.
  bool Seconds(std::size_t column, bool negative, std::int64_t* microseconds);
  // A decimal part of one, 0..1 in steps of 0.001.
  bool Share(std::size_t column, std::int32_t* thousandths);
  // A decimal from 0 with at most six digits after the point, as millionths; at most kMaxAmount.
  bool Millionths(std::size_t column, std::int64_t* millionths);

  std::size_t line() const { return line_; }  // where the current record starts
  std::size_t ColumnOf(std::size_t column) const;
  std::string Where(std::size_t column) const;
  void Report(std::size_t column, std::string message);

 private:
  struct Cell {
    std::size_t begin = 0, end = 0;  // without the quotes around it
    std::size_t line = 0, line_begin = 0, start = 0;
    bool escaped = false;
  };

  enum class Record { kGood, kBad, kEnd };
  Record Scan();
  bool ScanQuoted(Cell* cell);
  void SkipLine();
  void MapColumns();
  std::size_t CharacterColumn(std::size_t line_begin, std::size_t at) const;
  std::string Place(const Cell& cell) const;
  std::string_view Value(const Cell& cell) const;

  std::string name_;
  std::string_view text_;
  std::span<const CsvColumn> columns_;
  Diagnostics* diagnostics_;
  std::size_t at_ = 0;
  std::size_t here_line_ = 1, here_line_begin_ = 0;  // of at_
  std::size_t line_ = 0;
  std::size_t width_ = 0;              // of the header
  std::vector<std::ptrdiff_t> place_;  // column -> index of its cell, -1 absent
  std::vector<Cell> cells_;
  // By cell, only for those with doubled quotes; a deque, because views into it must stay.
  mutable std::deque<std::string> unescaped_;
};

// Why a field is not the number it should be; kNone when it is.
enum class NumberFault { kNone, kEmpty, kNotDigits, kSigned, kFraction, kTooLarge, kTooPrecise };
NumberFault ParseWhole(std::string_view text, bool negative, std::int64_t* value);
NumberFault ParseSeconds(std::string_view text, bool negative, std::int64_t* microseconds);

// Appends a field, in quotes where it needs them.
void AppendCsvField(std::string* out, std::string_view field);
// Appends microseconds as decimal seconds without trailing zeros, nothing for kUnknownTime.
void AppendSeconds(std::string* out, std::int64_t microseconds);

}  // namespace basalt::trace
