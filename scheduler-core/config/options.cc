#include "scheduler-core/config/options.h"

#include <fmt/format.h>
#include <yaml-cpp/depthguard.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "scheduler-core/base/suggest.h"

namespace basalt::config {
namespace {

constexpr std::uintmax_t kMaxYamlBytes = 16U << 20;

std::string Place(const std::string& file, const YAML::Mark& mark) {
  if (mark.is_null()) return file;
  return fmt::format("{}:{}:{}", file, mark.line + 1, mark.column + 1);
}

// The line of a `---` after some content, 0 if there is none. Found in the text, because asking
// yaml-cpp 0.7 for all documents never ends on an input like ",".
std::size_t SecondDocument(const std::string& text) {
  bool content = false;
  std::size_t line = 1;
  for (std::size_t at = 0; at < text.size(); ++line) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view row = std::string_view(text).substr(at, end - at);
    const bool marker =
        row.starts_with("---") && (row.size() == 3 || row[3] == ' ' || row[3] == '\r');
    if (marker && content) return line;
    const std::size_t first = row.find_first_not_of(" \t\r");
    const bool blank = first == std::string_view::npos || row[first] == '#' || row[first] == '%';
    content = content || (!marker && !blank);
    at = end + 1;
  }
  return 0;
}

std::string Number(double value) {
  return value == std::floor(value) && std::abs(value) < 1e15
             ? fmt::format("{}", static_cast<std::int64_t>(value))
             : fmt::format("{:g}", value);
}

// No bound at all, or the largest of a 64-bit type, which nobody wrote down either.
bool Unbounded(double value) { return std::abs(value) >= 9e18; }

}  // namespace

std::string RangeText(double low, double high) {
  if (Unbounded(low) && Unbounded(high)) return {};
  if (Unbounded(high)) return Number(low) + " or more";
  if (Unbounded(low)) return "at most " + Number(high);
  return Number(low) + ".." + Number(high);
}

void Errors::Add(const std::string& file, const YAML::Node& at, std::string message) {
  list_.push_back(Error{Place(file, at.Mark()), std::move(message)});
}

Error Errors::Joined() const {
  constexpr std::size_t kShown = 20;
  Error joined = list_.front();
  for (std::size_t i = 1; i < std::min(list_.size(), kShown); ++i) {
    joined.message += "\n" + list_[i].ToString();
  }
  if (list_.size() > kShown) {
    joined.message += fmt::format("\nand {} more", list_.size() - kShown);
  }
  return joined;
}

Result<Document> ParseYaml(const std::string& name, const std::string& text) {
  if (text.find('\0') != std::string::npos) return Fail(name, "contains a NUL byte");
  try {
    if (const std::size_t line = SecondDocument(text); line != 0) {
      return Fail(fmt::format("{}:{}:1", name, line), "a second document starts; write one a file");
    }
    YAML::Node root = YAML::Load(text);
    if (!root.IsDefined() || root.IsNull()) return Fail(name, "is empty");
    return Document{name, std::move(root)};
  } catch (const YAML::DeepRecursion& e) {
    return Fail(Place(name, e.mark), "is nested too deeply");
  } catch (const YAML::Exception& e) {
    return Fail(Place(name, e.mark), e.msg);
  }
}

Result<Document> LoadYaml(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return Fail(path, "is a directory; name a file");
  std::ifstream in(path, std::ios::binary);
  if (!in) return Fail(path, "cannot be read; does it exist?");
  std::string text;
  char block[65536];
  while (in.read(block, sizeof block) || in.gcount() > 0) {
    text.append(block, static_cast<std::size_t>(in.gcount()));
    if (text.size() > kMaxYamlBytes) return Fail(path, "is larger than 16 MiB");
  }
  return ParseYaml(path, text);
}

bool ReadInteger(const std::string& file, const YAML::Node& node, const OptionInfo& option,
                 std::int64_t* out, Errors* errors) {
  std::int64_t value = 0;
  const std::string& text = node.IsScalar() ? node.Scalar() : std::string();
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (!node.IsScalar() || error != std::errc() || end != text.data() + text.size()) {
    errors->Add(file, node,
                fmt::format("{} must be a whole number{}{}", option.name,
                            option.unit.empty() ? "" : " of ", option.unit));
    return false;
  }
  if (static_cast<double>(value) < option.low || static_cast<double>(value) > option.high) {
    errors->Add(file, node,
                fmt::format("{} is {}, outside {}", option.name, value,
                            RangeText(option.low, option.high)));
    return false;
  }
  *out = value;
  return true;
}

bool ReadText(const std::string& file, const YAML::Node& node, const OptionInfo& option,
              std::string* out, Errors* errors) {
  if (!node.IsScalar() || node.Scalar().empty()) {
    errors->Add(file, node, fmt::format("{} must be text", option.name));
    return false;
  }
  *out = node.Scalar();
  return true;
}

bool CheckList(const std::string& file, const YAML::Node& node, const OptionInfo& option,
               Errors* errors) {
  if (node.IsSequence()) return true;
  errors->Add(file, node,
              fmt::format("{} must be a list (lines that start with \"- \")", option.name));
  return false;
}

bool CheckKeys(const std::string& file, const YAML::Node& map,
               const std::vector<OptionInfo>& options, Errors* errors) {
  if (!map.IsMap()) {
    errors->Add(file, map, "must be a map of \"key: value\" lines");
    return false;
  }
  std::vector<std::string> names;
  for (const OptionInfo& option : options) names.push_back(option.name);
  std::set<std::string> seen;
  for (const auto& entry : map) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    if (std::find(names.begin(), names.end(), key) == names.end()) {
      errors->Add(file, entry.first, "unknown key " + SuggestText(key, names));
    } else if (!seen.insert(key).second) {
      errors->Add(file, entry.first, fmt::format("key \"{}\" stands twice", key));
    }
  }
  for (const OptionInfo& option : options) {
    if (option.required && !seen.contains(option.name)) {
      errors->Add(file, map, fmt::format("\"{}\" is missing: {}", option.name, option.help));
    }
  }
  return true;
}

std::string ReferenceTable(const std::vector<OptionInfo>& options) {
  std::string out = "| key | type | default | range | meaning |\n|---|---|---|---|---|\n";
  for (const OptionInfo& o : options) {
    out += fmt::format("| `{}` | {}{}{} | {} | {} | {} |\n", o.name, o.type,
                       o.unit.empty() ? "" : ", ", o.unit,
                       o.required ? "required" : o.default_value, RangeText(o.low, o.high), o.help);
  }
  return out;
}

}  // namespace basalt::config
