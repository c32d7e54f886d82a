// YAML with places. An OptionTable<T> is the one list of what may stand in a map: name, help,
// default, unit, range, and where the value goes. From it come parsing with
// `file:line:column: unknown key "polcy"; did you mean "policy"?`, range checks and the reference
// page. Unknown keys are errors, and all errors of a document are reported, not just the first.
#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/result.h"

namespace basalt::config {

// A parsed document: its root, and the file's name for messages.
struct Document {
  std::string file;
  YAML::Node root;
};
// Errors: the file cannot be read, is larger than 16 MiB, or is no YAML.
Result<Document> LoadYaml(const std::string& path);
Result<Document> ParseYaml(const std::string& name, const std::string& text);

class Errors {
 public:
  void Add(const std::string& file, const YAML::Node& at, std::string message);
  bool ok() const { return list_.empty(); }
  const std::vector<Error>& list() const { return list_; }
  // All of them in one Error, a line each.
  Error Joined() const;

 private:
  std::vector<Error> list_;
};

struct OptionInfo {
  std::string name = {};
  std::string help = {};
  std::string type = {};           // integer, number, text, flag, list, map
  std::string default_value = {};  // as the reference page prints it
  std::string unit = {};
  double low = std::numeric_limits<double>::lowest();
  double high = std::numeric_limits<double>::max();
  bool required = false;
};

// The range as people read it: "1..64", "0 or more", "at most 5"; empty where any number will do.
std::string RangeText(double low, double high);

bool ReadInteger(const std::string& file, const YAML::Node& node, const OptionInfo& option,
                 std::int64_t* out, Errors* errors);
bool ReadText(const std::string& file, const YAML::Node& node, const OptionInfo& option,
              std::string* out, Errors* errors);
bool CheckList(const std::string& file, const YAML::Node& node, const OptionInfo& option,
               Errors* errors);

// Reports keys that are not in the table, keys that stand twice, and required ones that are
// missing. False when the node is no map.
bool CheckKeys(const std::string& file, const YAML::Node& map,
               const std::vector<OptionInfo>& options, Errors* errors);
// The table as Markdown, for the reference page.
std::string ReferenceTable(const std::vector<OptionInfo>& options);

template <class T>
class OptionTable {
 public:
  using Read = std::function<void(const std::string& file, const YAML::Node& node,
                                  const OptionInfo& option, T* out, Errors* errors)>;

  OptionTable& Integer(OptionInfo info, std::int64_t T::* field) {
    info.type = "integer";
    return Custom(std::move(info), [field](const auto& file, const auto& node, const auto& option,
                                           T* out, Errors* errors) {
      ReadInteger(file, node, option, &(out->*field), errors);
    });
  }
  OptionTable& Text(OptionInfo info, std::string T::* field) {
    info.type = "text";
    return Custom(std::move(info), [field](const auto& file, const auto& node, const auto& option,
                                           T* out, Errors* errors) {
      ReadText(file, node, option, &(out->*field), errors);
    });
  }
  OptionTable& TextList(OptionInfo info, std::vector<std::string> T::* field) {
    info.type = "list of text";
    return Custom(std::move(info), [field](const auto& file, const auto& node, const auto& option,
                                           T* out, Errors* errors) {
      if (!CheckList(file, node, option, errors)) return;
      for (const YAML::Node& item : node) {
        std::string text;
        if (ReadText(file, item, option, &text, errors)) (out->*field).push_back(text);
      }
    });
  }
  // A list of maps, each read by its own table.
  template <class U>
  OptionTable& Maps(OptionInfo info, std::vector<U> T::* field, const OptionTable<U>& table) {
    info.type = "list of maps";
    return Custom(std::move(info), [field, &table](const auto& file, const auto& node,
                                                   const auto& option, T* out, Errors* errors) {
      if (!CheckList(file, node, option, errors)) return;
      for (const YAML::Node& item : node) {
        U value;
        table.Parse(file, item, &value, errors);
        (out->*field).push_back(std::move(value));
      }
    });
  }
  OptionTable& Custom(OptionInfo info, Read read) {
    infos_.push_back(std::move(info));
    reads_.push_back(std::move(read));
    return *this;
  }

  void Parse(const std::string& file, const YAML::Node& map, T* out, Errors* errors) const {
    if (!CheckKeys(file, map, infos_, errors)) return;
    for (std::size_t i = 0; i < infos_.size(); ++i) {
      const YAML::Node value = map[infos_[i].name];
      if (value.IsDefined()) reads_[i](file, value, infos_[i], out, errors);
    }
  }
  const std::vector<OptionInfo>& infos() const { return infos_; }

 private:
  std::vector<OptionInfo> infos_;
  std::vector<Read> reads_;
};

}  // namespace basalt::config
