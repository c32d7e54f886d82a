#include "traces/csv.h"

#include <algorithm>
#include <array>
#include <utility>

#include "traces/text.h"
#include "traces/trace.h"

namespace basalt::trace {
namespace {

// The bytes at which the scan of an unquoted field has to look closer.
constexpr std::array<bool, 256> kStops = [] {
  std::array<bool, 256> stops{};
  for (const char c : {',', '"', '\r', '\n'}) stops[static_cast<unsigned char>(c)] = true;
  return stops;
}();

bool AllDigits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

std::string Count(std::size_t n, const char* noun) {
  return std::to_string(n) + ' ' + noun + (n == 1 ? "" : "s");
}

}  // namespace

CsvReader::CsvReader(std::string name, std::string_view text, std::span<const CsvColumn> columns,
                     Diagnostics* diagnostics)
    : name_(std::move(name)),
      text_(text),
      columns_(columns),
      diagnostics_(diagnostics),
      place_(columns.size(), -1) {}

std::size_t CsvReader::CharacterColumn(std::size_t line_begin, std::size_t at) const {
  const std::string_view before = text_.substr(line_begin, at - line_begin);
  return 1 + static_cast<std::size_t>(std::ranges::count_if(
                 before, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string CsvReader::Place(const Cell& cell) const {
  return At(name_, cell.line, CharacterColumn(cell.line_begin, cell.start));
}

void CsvReader::SkipLine() {
  const std::size_t end = text_.find('\n', at_);
  if (end == std::string_view::npos) {
    at_ = text_.size();
    return;
  }
  at_ = end + 1;
  ++here_line_;
  here_line_begin_ = at_;
}

// at_ is just after the opening quote; afterwards just after the closing one.
bool CsvReader::ScanQuoted(Cell* cell) {
  cell->begin = at_;
  while (true) {
    const std::size_t at = text_.find_first_of("\"\n", at_);
    if (at == std::string_view::npos) {
      diagnostics_->Add(Place(*cell), "the quote that starts here never ends; add a closing \"");
      at_ = text_.size();
      return false;
    }
    at_ = at + 1;
    if (text_[at] == '\n') {
      ++here_line_;
      here_line_begin_ = at_;
      continue;
    }
    if (at_ < text_.size() && text_[at_] == '"') {
      cell->escaped = true;
      ++at_;
      continue;
    }
    cell->end = at;
    return true;
  }
}

// One record into cells_. kBad: reported, and at_ is after its line.
CsvReader::Record CsvReader::Scan() {
  cells_.clear();
  // Lines that are empty are no records.
  while (at_ < text_.size()) {
    if (text_[at_] == '\n' || text_.substr(at_, 2) == "\r\n") {
      SkipLine();
    } else {
      break;
    }
  }
  line_ = here_line_;
  if (at_ >= text_.size()) return Record::kEnd;
  const std::size_t record_begin = at_;
  while (true) {
    Cell cell;
    cell.start = at_;
    cell.line = here_line_;
    cell.line_begin = here_line_begin_;
    if (at_ < text_.size() && text_[at_] == '"') {
      ++at_;
      if (!ScanQuoted(&cell)) return Record::kBad;
      if (at_ < text_.size() && !kStops[static_cast<unsigned char>(text_[at_])]) {
        diagnostics_->Add(At(name_, here_line_, CharacterColumn(here_line_begin_, at_)),
                          "text after a closing quote; double the quotes inside a quoted field");
        SkipLine();
        return Record::kBad;
      }
    } else {
      cell.begin = at_;
      while (at_ < text_.size() && !kStops[static_cast<unsigned char>(text_[at_])]) ++at_;
      cell.end = at_;
    }
    if (at_ - record_begin > kMaxLineBytes) {
      diagnostics_->Add(At(name_, line_, 1), "the record is longer than " +
                                                 std::to_string(kMaxLineBytes >> 20) +
                                                 " MiB; is a closing quote missing?");
      SkipLine();
      return Record::kBad;
    }
    cells_.push_back(cell);
    if (at_ == text_.size()) return Record::kGood;
    const char stop = text_[at_];
    if (stop == ',') {
      ++at_;
      continue;
    }
    if (stop == '\n' || text_.substr(at_, 2) == "\r\n") {
      SkipLine();
      return Record::kGood;
    }
    diagnostics_->Add(At(name_, here_line_, CharacterColumn(here_line_begin_, at_)),
                      stop == '"' ? "a quote inside an unquoted field; put the whole field in "
                                    "quotes and double the quotes in it"
                                  : "a carriage return without a line feed; end lines with LF or "
                                    "CRLF");
    SkipLine();
    return Record::kBad;
  }
}

std::string_view CsvReader::Value(const Cell& cell) const {
  const std::string_view raw = text_.substr(cell.begin, cell.end - cell.begin);
  if (!cell.escaped) return raw;
  const auto index = static_cast<std::size_t>(&cell - cells_.data());
  if (unescaped_.size() <= index) unescaped_.resize(index + 1);
  std::string& out = unescaped_[index];
  out.clear();
  for (std::size_t i = 0; i < raw.size(); ++i) {
    out += raw[i];
    if (raw[i] == '"') ++i;  // the second of a pair
  }
  return out;
}

bool CsvReader::ReadHeader() {
  if (!CheckText(name_, &text_, diagnostics_)) return false;
  const Record record = Scan();
  if (record == Record::kEnd) {
    std::string names;
    for (const CsvColumn& column : columns_) {
      if (!column.required) continue;
      if (!names.empty()) names += ',';
      names += column.name;
    }
    diagnostics_->Add(At(name_, 1, 1),
                      "the file is empty; its first line must name the columns " + names);
    return false;
  }
  if (record == Record::kBad) return false;
  const std::size_t before = diagnostics_->total;
  MapColumns();
  return diagnostics_->total == before;
}

bool CsvReader::ReadWithoutHeader() {
  if (!CheckText(name_, &text_, diagnostics_)) return false;
  width_ = columns_.size();
  for (std::size_t c = 0; c < width_; ++c) place_[c] = static_cast<std::ptrdiff_t>(c);
  // Nothing is reported yet: what is wrong with the first line, Next() will say.
  Diagnostics unheard;
  CsvReader ahead(name_, text_, columns_, &unheard);
  if (ahead.Scan() != Record::kGood || ahead.cells_.size() != width_) return true;
  for (std::size_t c = 0; c < width_; ++c) {
    if (ahead.Value(ahead.cells_[c]) != columns_[c].name) return true;
  }
  Scan();
  return true;
}

void CsvReader::MapColumns() {
  width_ = cells_.size();
  std::vector<std::string_view> known;
  for (const CsvColumn& column : columns_) known.push_back(column.name);
  // A hostile header may have millions of columns: stop at the first few unknown ones.
  for (std::size_t i = 0; i < cells_.size(); ++i) {
    const std::string_view name = Value(cells_[i]);
    const auto found = std::ranges::find(known, name);
    if (found == known.end()) {
      diagnostics_->Add(Place(cells_[i]),
                        "unknown column " + Quoted(name) + DidYouMean(name, known, "; remove it"));
      if (diagnostics_->total > kMaxErrors) return;
      continue;
    }
    std::ptrdiff_t& place = place_[static_cast<std::size_t>(found - known.begin())];
    if (place >= 0) {
      diagnostics_->Add(Place(cells_[i]),
                        "column " + Quoted(name) + " is there twice; remove one of them");
      if (diagnostics_->total > kMaxErrors) return;
      continue;
    }
    place = static_cast<std::ptrdiff_t>(i);
  }
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    if (columns_[c].required && place_[c] < 0) {
      diagnostics_->Add(At(name_, line_, 1),
                        "column " + Quoted(columns_[c].name) + " is missing; add it to the header");
    }
  }
}

bool CsvReader::Next() {
  while (true) {
    const Record record = Scan();
    if (record == Record::kEnd) return false;
    if (record == Record::kBad) continue;
    if (cells_.size() == width_) return true;
    diagnostics_->Add(At(name_, line_, 1), Count(cells_.size(), "field") + ", but the header has " +
                                               Count(width_, "column") +
                                               "; quote fields that contain commas");
  }
}

std::string_view CsvReader::Field(std::size_t column) const {
  if (place_[column] < 0) return {};
  return Value(cells_[static_cast<std::size_t>(place_[column])]);
}

std::size_t CsvReader::ColumnOf(std::size_t column) const {
  if (place_[column] < 0) return 1;
  const Cell& cell = cells_[static_cast<std::size_t>(place_[column])];
  return CharacterColumn(cell.line_begin, cell.start);
}

std::string CsvReader::Where(std::size_t column) const {
  if (place_[column] < 0) return At(name_, line_, 1);
  return Place(cells_[static_cast<std::size_t>(place_[column])]);
}

void CsvReader::Report(std::size_t column, std::string message) {
  diagnostics_->Add(Where(column), std::move(message));
}

NumberFault ParseWhole(std::string_view text, bool negative, std::int64_t* value) {
  if (text.empty()) return NumberFault::kEmpty;
  const bool minus = text.front() == '-';
  if (minus || text.front() == '+') {
    if (!minus || !negative) {
      return AllDigits(text.substr(1)) ? NumberFault::kSigned : NumberFault::kNotDigits;
    }
    text.remove_prefix(1);
  }
  if (!AllDigits(text)) {
    const std::size_t point = text.find('.');
    return point != std::string_view::npos && AllDigits(text.substr(0, point)) &&
                   AllDigits(text.substr(point + 1))
               ? NumberFault::kFraction
               : NumberFault::kNotDigits;
  }
  std::int64_t sum = 0;
  for (const char c : text) {
    if (__builtin_mul_overflow(sum, 10, &sum) || __builtin_sub_overflow(sum, c - '0', &sum)) {
      return NumberFault::kTooLarge;
    }
  }
  // Summed as a negative number, which reaches one further.
  if (!minus && __builtin_sub_overflow(0, sum, &sum)) return NumberFault::kTooLarge;
  *value = sum;
  return NumberFault::kNone;
}

NumberFault ParseSeconds(std::string_view text, bool negative, std::int64_t* microseconds) {
  const std::size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  std::int64_t seconds = 0;
  if (const NumberFault fault = ParseWhole(whole, negative, &seconds);
      fault != NumberFault::kNone) {
    return fault == NumberFault::kEmpty && !text.empty() ? NumberFault::kNotDigits : fault;
  }
  std::int64_t micros = 0;
  if (point != std::string_view::npos) {
    const std::string_view part = text.substr(point + 1);
    if (!AllDigits(part)) return NumberFault::kNotDigits;
    if (part.size() > 6) return NumberFault::kTooPrecise;
    for (std::size_t i = 0; i < 6; ++i)
      micros = micros * 10 + (i < part.size() ? part[i] - '0' : 0);
  }
  constexpr std::int64_t kMaxSeconds = kMaxTimeUs / 1'000'000;
  if (seconds > kMaxSeconds || seconds < -kMaxSeconds) return NumberFault::kTooLarge;
  const std::int64_t sum = seconds * 1'000'000 + (text.front() == '-' ? -micros : micros);
  if (sum > kMaxTimeUs || sum < -kMaxTimeUs) return NumberFault::kTooLarge;
  *microseconds = sum;
  return NumberFault::kNone;
}

bool CsvReader::Integer(std::size_t column, std::int64_t low, std::int64_t high,
                        std::int64_t* value) {
  const std::string_view text = Field(column);
  std::int64_t parsed = 0;
  const NumberFault fault = ParseWhole(text, low < 0, &parsed);
  if (fault == NumberFault::kNone && parsed >= low && parsed <= high) [[likely]] {
    *value = parsed;
    return true;
  }
  const std::string range = std::to_string(low) + ".." + std::to_string(high);
  std::string what;
  switch (fault) {
    case NumberFault::kEmpty:
      what = "is empty; write a whole number, " + range;
      break;
    case NumberFault::kSigned:
      what = Quoted(text) +
             (text.front() == '-' ? " is negative; the range is "
                                  : " has a sign; write digits only, ") +
             range;
      break;
    case NumberFault::kFraction:
      what = Quoted(text) + " has a fraction; write a whole number, " + range;
      break;
    case NumberFault::kNone:
    case NumberFault::kTooLarge:
      what = Quoted(text) + " is out of range; the range is " + range;
      break;
    default:
      what = Quoted(text) + " is not a whole number; write digits only, " + range;
  }
  Report(column, std::string(columns_[column].name) + ' ' + what);
  return false;
}

bool CsvReader::Seconds(std::size_t column, bool negative, std::int64_t* microseconds) {
  const std::string_view text = Field(column);
  const NumberFault fault = ParseSeconds(text, negative, microseconds);
  if (fault == NumberFault::kNone) [[likely]]
    return true;
  std::string what = Quoted(text);
  switch (fault) {
    case NumberFault::kEmpty:
      what = "is empty; write seconds, such as 12.5";
      break;
    case NumberFault::kSigned:
      what += text.front() == '-' ? " is negative; write seconds from 0" : " has a sign; drop it";
      break;
    case NumberFault::kTooLarge:
      what += " is out of range; the largest is 1000000000000 seconds";
      break;
    case NumberFault::kTooPrecise:
      what += " has more than six digits after the point; round it to microseconds";
      break;
    default:
      what += " is not a number of seconds; write digits, such as 12.5";
  }
  Report(column, std::string(columns_[column].name) + ' ' + what);
  return false;
}

bool CsvReader::Share(std::size_t column, std::int32_t* thousandths) {
  constexpr std::int64_t kStep = 1000, kOne = 1'000'000;  // as ParseSeconds counts
  const std::string_view text = Field(column);
  std::int64_t parsed = 0;
  const NumberFault fault = ParseSeconds(text, /*negative=*/false, &parsed);
  if (fault == NumberFault::kNone && parsed <= kOne && parsed % kStep == 0) [[likely]] {
    *thousandths = static_cast<std::int32_t>(parsed / kStep);
    return true;
  }
  Report(column, std::string(columns_[column].name) + ' ' + Quoted(text) +
                     " is not a part of one; write 0..1 with at most three digits after the point, "
                     "such as 0.25");
  return false;
}

bool CsvReader::Millionths(std::size_t column, std::int64_t* millionths) {
  // Of a time or not, the digits are the same.
  if (ParseSeconds(Field(column), /*negative=*/false, millionths) == NumberFault::kNone) {
    return true;
  }
  Report(column, std::string(columns_[column].name) + ' ' + Quoted(Field(column)) +
                     " is not a number from 0 to 10^12 with at most six digits after the point; "
                     "write one, such as 12.5");
  return false;
}

void AppendCsvField(std::string* out, std::string_view field) {
  if (field.find_first_of(",\"\r\n") == std::string_view::npos) {
    *out += field;
    return;
  }
  *out += '"';
  for (const char c : field) {
    if (c == '"') *out += '"';
    *out += c;
  }
  *out += '"';
}

void AppendSeconds(std::string* out, std::int64_t microseconds) {
  if (microseconds == kUnknownTime) return;
  if (microseconds < 0) *out += '-';
  const std::int64_t size = microseconds < 0 ? -microseconds : microseconds;
  *out += std::to_string(size / 1'000'000);
  std::int64_t part = size % 1'000'000;
  if (part == 0) return;
  std::string digits = std::to_string(1'000'000 + part).substr(1);
  digits.erase(digits.find_last_not_of('0') + 1);
  *out += '.' + digits;
}

}  // namespace basalt::trace
