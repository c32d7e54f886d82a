#include "traces/json_records.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "traces/text.h"

namespace basalt::trace {
namespace {

using Kind = JsonValue::Kind;

// Walks over the text and keeps, for all copies of itself, how far the parser has read: its events
// come without a place.
class Reading {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  struct Place {
    std::uint32_t newlines = 0;
    char last = 0;
    // A token may be followed by one byte that was read to find its end.
    std::uint32_t Line() const { return 1 + newlines - (last == '\n' ? 1 : 0); }
  };

  Reading(const char* at, Place* place) : at_(at), place_(place) {}
  reference operator*() const { return *at_; }
  Reading& operator++() {
    place_->last = *at_;
    if (*at_ == '\n') ++place_->newlines;
    ++at_;
    return *this;
  }
  Reading operator++(int) {
    Reading before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const Reading& a, const Reading& b) { return a.at_ == b.at_; }

 private:
  const char* at_;
  Place* place_;
};

class Handler : public nlohmann::json_sax<nlohmann::json> {
 public:
  Handler(const SourceText& source, const Reading::Place& place, Diagnostics* diagnostics,
          const std::function<void(const JsonValue&)>& record)
      : source_(source), place_(place), diagnostics_(diagnostics), record_(record) {}

  bool null() override { return Scalar(Kind::kNull, "null"); }
  bool boolean(bool value) override { return Scalar(Kind::kBool, value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override {
    return Scalar(Kind::kNumber, std::to_string(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return Scalar(Kind::kNumber, std::to_string(value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return Scalar(Kind::kNumber, text);
  }
  bool string(string_t& value) override {
    if (value.find('\0') != std::string::npos) {
      return Fault(place_.Line(), "a NUL character in a string; remove the \\u0000");
    }
    return Scalar(Kind::kString, std::move(value));
  }
  bool binary(binary_t&) override { return Fault(place_.Line(), "binary data is not JSON"); }
  bool key(string_t& value) override {
    if (value.find('\0') != std::string::npos) {
      return Fault(place_.Line(), "a NUL character in a key; remove the \\u0000");
    }
    key_ = std::move(value);
    return true;
  }
  bool start_object(std::size_t) override { return Open(Kind::kObject); }
  bool start_array(std::size_t) override { return Open(Kind::kArray); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    // The byte that was not expected is the last one that was read.
    return Fault(1 + place_.newlines - (place_.last == '\n' ? 1 : 0),
                 "not valid JSON; look for a missing comma, quote or brace just before");
  }

 private:
  bool Fault(std::size_t line, std::string message) {
    diagnostics_->Add(At(source_.name, line), std::move(message));
    return false;
  }
  JsonValue Make(Kind kind, std::string text = {}) {
    JsonValue value;
    value.kind = kind;
    value.line = place_.Line();
    value.key = std::move(key_);
    value.text = std::move(text);
    key_.clear();
    return value;
  }
  bool Scalar(Kind kind, std::string text) {
    Take(Make(kind, std::move(text)));
    return true;
  }
  bool Open(Kind kind) {
    if (open_.size() >= kMaxJsonDepth) {
      return Fault(place_.Line(), "nested deeper than " + std::to_string(kMaxJsonDepth) +
                                      " levels; this is not such a file");
    }
    open_.push_back(Make(kind));
    return true;
  }
  bool Close() {
    JsonValue done = std::move(open_.back());
    open_.pop_back();
    Take(std::move(done));
    return true;
  }
  // A value is complete: a record, the root, or a part of what is open.
  void Take(JsonValue value) {
    if (open_.empty()) {
      if (!list_) Give(value);
      return;
    }
    JsonValue& parent = open_.back();
    const bool in_root_array = open_.size() == 1 && parent.Is(Kind::kArray);
    const bool in_items = open_.size() == 2 && parent.Is(Kind::kArray) && parent.key == "items" &&
                          open_.front().Is(Kind::kObject);
    if (in_root_array || in_items) {
      list_ = true;
      Give(value);
      return;
    }
    if (open_.size() == 1 && value.key == "items" && value.Is(Kind::kArray)) {
      list_ = true;  // also when it is empty
      return;
    }
    parent.items.push_back(std::move(value));
  }
  void Give(const JsonValue& value) {
    if (value.Is(Kind::kObject)) {
      record_(value);
    } else if (!value.Is(Kind::kArray) || !open_.empty()) {
      Fault(value.line, "is not an object {...}; each record must be one");
    }
  }

  const SourceText& source_;
  const Reading::Place& place_;
  Diagnostics* diagnostics_;
  const std::function<void(const JsonValue&)>& record_;
  std::string key_;
  std::vector<JsonValue> open_;
  bool list_ = false;
};

nlohmann::ordered_json ToTree(const JsonValue& value) {
  switch (value.kind) {
    case Kind::kObject: {
      auto object = nlohmann::ordered_json::object();
      for (const JsonValue& member : value.items) object[member.key] = ToTree(member);
      return object;
    }
    case Kind::kArray: {
      auto array = nlohmann::ordered_json::array();
      for (const JsonValue& item : value.items) array.push_back(ToTree(item));
      return array;
    }
    case Kind::kString:
      return value.text;
    case Kind::kNull:
      return nullptr;
    case Kind::kBool:
      return value.text == "true";
    case Kind::kNumber:
      return nlohmann::ordered_json::parse(value.text, nullptr, /*allow_exceptions=*/false);
  }
  return nullptr;
}

}  // namespace

const JsonValue* JsonValue::Find(std::string_view name) const {
  if (kind != Kind::kObject) return nullptr;
  const auto found = std::find_if(items.rbegin(), items.rend(),
                                  [&](const JsonValue& member) { return member.key == name; });
  return found == items.rend() ? nullptr : &*found;
}

const JsonValue* JsonValue::At(std::initializer_list<std::string_view> path) const {
  const JsonValue* value = this;
  for (const std::string_view name : path) {
    if (value == nullptr) return nullptr;
    value = value->Find(name);
  }
  return value;
}

std::string_view JsonValue::TextAt(std::initializer_list<std::string_view> path) const {
  const JsonValue* value = At(path);
  return value != nullptr && value->Is(Kind::kString) ? std::string_view(value->text)
                                                      : std::string_view();
}

std::string ToJson(const JsonValue& value) { return ToTree(value).dump(); }

bool ReadJsonRecords(const SourceText& source, Diagnostics* diagnostics,
                     const std::function<void(const JsonValue&)>& record) {
  std::string_view text = source.text;
  if (!CheckText(source.name, &text, diagnostics)) return false;
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos || (text[begin] != '{' && text[begin] != '[')) {
    const std::size_t line =
        begin == std::string_view::npos
            ? 1
            : 1 + static_cast<std::size_t>(std::ranges::count(text.substr(0, begin), '\n'));
    diagnostics->Add(At(source.name, line),
                     "not JSON: it does not start with { or [; of kubectl's output write -o json");
    return false;
  }
  Reading::Place place;
  Handler handler(source, place, diagnostics, record);
  const Reading first(text.data(), &place), last(text.data() + text.size(), &place);
  const std::size_t before = diagnostics->total;
  return nlohmann::json::sax_parse(first, last, &handler) && diagnostics->total == before;
}

}  // namespace basalt::trace
