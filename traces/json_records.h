// JSON files that hold many records: an array of them, or an object whose "items" is one (what
// `kubectl get -o json` prints), or one object, which is then the only record. Records are given
// out one at a time, so that a file is never held as one tree, and every value knows its line.
//
// Refused with file:line: what is not JSON, more than kMaxJsonDepth levels, NUL in a string.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "traces/diagnostics.h"
#include "traces/source.h"

namespace basalt::trace {

inline constexpr std::size_t kMaxJsonDepth = 64;

struct JsonValue {
  enum class Kind : std::uint8_t { kNull, kBool, kNumber, kString, kArray, kObject };
  Kind kind = Kind::kNull;
  std::uint32_t line = 0;
  std::string key;               // of a member of an object
  std::string text;              // the string; the number as written; true or false
  std::vector<JsonValue> items;  // of an array; the members of an object, in file order

  bool Is(Kind other) const { return kind == other; }
  // The member of an object; of several with the same key the last, as elsewhere. Null: none, or no
  // object.
  const JsonValue* Find(std::string_view name) const;
  // Down a path of members: Find("spec").Find("nodeName").
  const JsonValue* At(std::initializer_list<std::string_view> path) const;
  // The text of a string member down the path; empty when there is none.
  std::string_view TextAt(std::initializer_list<std::string_view> path) const;
};

// One line, keys in file order, as compact JSON.
std::string ToJson(const JsonValue& value);

// Gives every record that is an object to `record`; others are reported. False, and reported, when
// the text is not such JSON; records before the fault have been given out then.
bool ReadJsonRecords(const SourceText& source, Diagnostics* diagnostics,
                     const std::function<void(const JsonValue&)>& record);

}  // namespace basalt::trace
