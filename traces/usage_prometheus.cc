#include "traces/usage_prometheus.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "traces/text.h"
#include "traces/trace.h"
#include "traces/usage_names.h"

namespace basalt::trace {
namespace {

using nlohmann::json;
using Labels = std::vector<std::pair<std::string, std::string>>;

constexpr std::size_t kMaxUnknownNames = 10'000;

std::string_view Label(const Labels& labels, std::string_view name) {
  const auto found = std::ranges::find(labels, name, &Labels::value_type::first);
  return found == labels.end() ? std::string_view() : std::string_view(found->second);
}

std::string FirstLabel(const Labels& labels, UsageLabel which) {
  for (const std::string_view name : UsageLabels(which)) {
    const std::string_view value = Label(labels, name);
    if (!value.empty()) return std::string(value);
  }
  return {};
}

// A float as Prometheus writes it; empty when it is none.
std::optional<double> ParseFloat(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || text.empty()) return std::nullopt;
  if (error == std::errc::result_out_of_range) return std::nullopt;
  if (error != std::errc()) return std::nullopt;
  return value;
}

// Millionths of the canonical unit; empty when the value says "not measured".
std::optional<std::int64_t> Canonical(double value, const UsageName& name) {
  const double scaled = value * static_cast<double>(name.multiply);
  const double out = scaled / static_cast<double>(name.divide);
  // DCGM's blank numbers are 2147483632 and above. Not >= is also for NaN.
  const double most = name.metric == kGpuMemMib ? 1e8 : 1e4;
  if (!(value >= 0) || !(out <= most)) return std::nullopt;
  return std::llround(out * 1e6);
}

// Where a sample of these labels goes, or null: not in the table, or not of the kind that counts.
UsageSeries* Target(UsageFile* file, std::string_view metric, const Labels& labels,
                    std::size_t samples) {
  const int row = FindUsageName(metric);
  if (row < 0) {
    const std::string key(metric.empty() ? std::string_view("(no name)") : metric);
    if (file->unknown.size() < kMaxUnknownNames || file->unknown.contains(key)) {
      file->unknown[key] += samples;
    } else {
      file->unknown["(others)"] += samples;
    }
    return nullptr;
  }
  const UsageName& name = UsageNames()[static_cast<std::size_t>(row)];
  if (!name.label.empty() && Label(labels, name.label) != name.value) return nullptr;
  UsageSeries series;
  series.name = row;
  series.name_space = FirstLabel(labels, UsageLabel::kNamespace);
  series.pod = FirstLabel(labels, UsageLabel::kPod);
  series.container = FirstLabel(labels, UsageLabel::kContainer);
  series.node = FirstLabel(labels, UsageLabel::kNode);
  series.uuid = FirstLabel(labels, UsageLabel::kUuid);
  series.index = FirstLabel(labels, UsageLabel::kIndex);
  if (const std::string_view instance = Label(labels, "GPU_I_ID"); !instance.empty()) {
    const std::string suffix = "/mig" + std::string(instance);
    if (!series.uuid.empty()) series.uuid += suffix;
    if (!series.index.empty()) series.index += suffix;
  }
  file->series.push_back(std::move(series));
  return &file->series.back();
}

void AddPoint(UsageFile* file, UsageSeries* series, std::int64_t time_us, double value) {
  const auto canonical = Canonical(value, UsageNames()[static_cast<std::size_t>(series->name)]);
  if (!canonical) {
    ++file->not_measured;
    return;
  }
  series->points.push_back({time_us, *canonical});
}

void DropEmpty(UsageFile* file) {
  std::erase_if(file->series, [](const UsageSeries& s) { return s.points.empty(); });
}

bool IsNameChar(char c, bool first, bool metric) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (metric && c == ':') ||
         (!first && c >= '0' && c <= '9');
}

// One sample line, read from left to right.
class LineReader {
 public:
  LineReader(const std::string& name, std::string_view line, std::size_t number, Diagnostics* d)
      : name_(name), line_(line), number_(number), diagnostics_(d) {}

  bool Fail(std::string message) {
    diagnostics_->Add(At(name_, number_, at_ + 1), std::move(message));
    return false;
  }
  void SkipBlanks() {
    while (at_ < line_.size() && (line_[at_] == ' ' || line_[at_] == '\t')) ++at_;
  }
  bool done() const { return at_ >= line_.size(); }
  char here() const { return line_[at_]; }

  bool Name(bool metric, std::string_view* out) {
    const std::size_t begin = at_;
    while (!done() && IsNameChar(here(), at_ == begin, metric)) ++at_;
    *out = line_.substr(begin, at_ - begin);
    if (out->empty()) {
      return Fail(metric ? "expected the name of a metric" : "expected the name of a label");
    }
    if (out->size() > kMaxNameBytes) return Fail("this name is too long");
    return true;
  }
  bool ReadLabels(Labels* out) {
    if (done() || here() != '{') return true;
    ++at_;
    for (;;) {
      SkipBlanks();
      if (done()) return Fail("the list of labels has no closing }");
      if (here() == '}') {
        ++at_;
        return true;
      }
      std::string_view key;
      if (!Name(false, &key)) return false;
      SkipBlanks();
      if (done() || here() != '=') return Fail("expected = behind the name of a label");
      ++at_;
      SkipBlanks();
      std::string value;
      if (!Quoted(&value)) return false;
      if (!Label(*out, key).empty()) return Fail("label " + std::string(key) + " stands twice");
      out->emplace_back(std::string(key), std::move(value));
      SkipBlanks();
      if (!done() && here() == ',') {
        ++at_;
      } else if (done() || here() != '}') {
        return Fail("expected , or } behind a label");
      }
    }
  }
  std::string_view Word() {
    SkipBlanks();
    const std::size_t begin = at_;
    while (!done() && here() != ' ' && here() != '\t') ++at_;
    word_at_ = begin;
    return line_.substr(begin, at_ - begin);
  }
  bool FailWord(std::string message) {
    at_ = word_at_;
    return Fail(std::move(message));
  }

 private:
  bool Quoted(std::string* out) {
    if (done() || here() != '"') return Fail("expected \" before the value of a label");
    ++at_;
    while (!done() && here() != '"') {
      char c = here();
      if (c == '\\') {
        ++at_;
        if (done()) break;
        c = here();
        if (c == 'n') {
          c = '\n';
        } else if (c != '\\' && c != '"') {
          return Fail("only \\\\, \\\" and \\n may stand in the value of a label");
        }
      }
      out->push_back(c);
      ++at_;
    }
    if (done()) return Fail("the value of a label has no closing \"");
    ++at_;
    if (out->size() > kMaxNameBytes) return Fail("the value of this label is too long");
    return true;
  }

  const std::string& name_;
  std::string_view line_;
  std::size_t number_, at_ = 0, word_at_ = 0;
  Diagnostics* diagnostics_;
};

// OpenMetrics gives seconds, the older format milliseconds.
bool ParseTimestamp(std::string_view text, bool openmetrics, std::int64_t* us) {
  const auto value = ParseFloat(text);
  if (!value) return false;
  const double micros = *value * (openmetrics ? 1e6 : 1e3);
  if (!(std::abs(micros) <= static_cast<double>(kMaxTimeUs))) return false;
  *us = std::llround(micros);
  return true;
}

// line:column of a byte of the text.
std::string Position(const std::string& name, std::string_view text, std::size_t byte) {
  const std::string_view before = text.substr(0, byte);
  const auto line = 1 + static_cast<std::size_t>(std::ranges::count(before, '\n'));
  return At(name, line, before.size() - (before.rfind('\n') + 1) + 1);  // npos + 1 is 0
}

// [unix seconds, "value"]
bool ReadPair(const json& pair, std::int64_t* us, double* value, std::string* why) {
  if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number() || !pair[1].is_string()) {
    *why = "must be [seconds, \"value\"]";
    return false;
  }
  const double micros = pair[0].get<double>() * 1e6;
  if (!(std::abs(micros) <= static_cast<double>(kMaxTimeUs))) {
    *why = "has a time out of range";
    return false;
  }
  const auto parsed = ParseFloat(pair[1].get_ref<const std::string&>());
  if (!parsed) {
    *why = "has the value " + Quoted(pair[1].get_ref<const std::string&>()) + ", not a number";
    return false;
  }
  *us = std::llround(micros);
  *value = *parsed;
  return true;
}

void ReadSeries(const std::string& where, const json& item, bool matrix, UsageFile* file,
                Diagnostics* diagnostics) {
  const char* key = matrix ? "values" : "value";
  if (!item.is_object() || !item.contains("metric") || !item["metric"].is_object() ||
      !item.contains(key) || !item[key].is_array()) {
    diagnostics->Add(where, std::string("must have \"metric\" and \"") + key +
                                "\"; native histograms are not read");
    return;
  }
  Labels labels;
  std::string metric;
  for (const auto& [label, value] : item["metric"].items()) {
    if (!value.is_string() || value.get_ref<const std::string&>().size() > kMaxNameBytes) {
      diagnostics->Add(where, "metric." + Quoted(label) + " must be a short string");
      return;
    }
    if (label == "__name__") {
      metric = value.get<std::string>();
    } else {
      labels.emplace_back(label, value.get<std::string>());
    }
  }
  const json& values = item[key];
  UsageSeries* series = Target(file, metric, labels, matrix ? values.size() : 1);
  if (series == nullptr) return;
  std::string why;
  std::int64_t us = 0;
  double value = 0;
  if (!matrix) {
    if (ReadPair(values, &us, &value, &why)) return AddPoint(file, series, us, value);
    diagnostics->Add(where + ".value", std::move(why));
    return;
  }
  std::int64_t last = std::numeric_limits<std::int64_t>::min();
  for (std::size_t i = 0; i < values.size(); ++i) {
    bool good = ReadPair(values[i], &us, &value, &why);
    if (good && us <= last) {
      good = false;
      why = "is not later than the one before it";
    }
    if (!good) {
      diagnostics->Add(where + ".values[" + std::to_string(i) + "]", std::move(why));
      return;  // the rest of a broken series would repeat the message
    }
    last = us;
    AddPoint(file, series, us, value);
  }
}

}  // namespace

UsageFile ParsePrometheusText(const std::string& name, std::string_view text,
                              Diagnostics* diagnostics) {
  UsageFile file;
  if (!CheckText(name, &text, diagnostics)) return file;
  std::string_view tail = text;
  while (tail.ends_with('\n') || tail.ends_with('\r')) tail.remove_suffix(1);
  const bool openmetrics = tail.ends_with("# EOF");
  std::size_t number = 0;
  while (!text.empty()) {
    ++number;
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    LineReader reader(name, line, number, diagnostics);
    reader.SkipBlanks();
    if (reader.done() || reader.here() == '#') continue;
    std::string_view metric;
    Labels labels;
    if (!reader.Name(true, &metric)) continue;
    reader.SkipBlanks();
    if (!reader.ReadLabels(&labels)) continue;
    const std::string_view value_text = reader.Word();
    const auto value = ParseFloat(value_text);
    if (!value) {
      reader.FailWord(value_text.empty() ? "the value is missing"
                                         : "the value " + Quoted(value_text) + " is not a number");
      continue;
    }
    std::int64_t us = kUnknownTime;
    std::string_view word = reader.Word();
    if (!word.empty() && !(openmetrics && word == "#")) {
      if (!ParseTimestamp(word, openmetrics, &us)) {
        reader.FailWord("the timestamp " + Quoted(word) + " is not a number in range");
        continue;
      }
      word = reader.Word();
    }
    // What follows "#" in OpenMetrics is an exemplar.
    if (!word.empty() && !(openmetrics && word == "#")) {
      reader.FailWord("nothing may stand behind the timestamp");
      continue;
    }
    if (UsageSeries* series = Target(&file, metric, labels, 1)) {
      AddPoint(&file, series, us, *value);
    }
  }
  DropEmpty(&file);
  return file;
}

UsageFile ParsePrometheusJson(const std::string& name, std::string_view text,
                              Diagnostics* diagnostics) {
  UsageFile file;
  if (!CheckText(name, &text, diagnostics)) return file;
  if (text.size() > kMaxUsageJsonBytes) {
    diagnostics->Add(name, "is larger than " + std::to_string(kMaxUsageJsonBytes >> 20) +
                               " MiB; ask for a part of the time, or with a longer step");
    return file;
  }
  json root;
  try {
    // Deeper than any answer: what nests on without end is refused before it fills the stack.
    root = json::parse(text, [](int depth, json::parse_event_t, json&) {
      if (depth > 16) throw std::length_error("nested too deeply");
      return true;
    });
  } catch (const json::parse_error& e) {
    const std::size_t byte = e.byte == 0 ? 0 : std::min(e.byte - 1, text.size());
    diagnostics->Add(Position(name, text, byte), "is not JSON; was the file cut?");
    return file;
  } catch (const std::exception& e) {
    diagnostics->Add(name, std::string("is no answer of Prometheus: ") + e.what());
    return file;
  }
  const auto text_of = [](const json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  if (root.is_object() && text_of(root, "status") == "error") {
    diagnostics->Add(name, "is an error of Prometheus: " + Quoted(text_of(root, "error")));
    return file;
  }
  const bool shaped = root.is_object() && root.contains("data") && root["data"].is_object() &&
                      root["data"].contains("result") && root["data"]["result"].is_array();
  const std::string type = shaped ? text_of(root["data"], "resultType") : std::string();
  if (type != "matrix" && type != "vector") {
    diagnostics->Add(name,
                     "is no answer of Prometheus' query or query_range; expected "
                     "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\" or \"vector\","
                     "\"result\":[...]}}");
    return file;
  }
  const json& result = root["data"]["result"];
  for (std::size_t i = 0; i < result.size(); ++i) {
    ReadSeries(name + ": data.result[" + std::to_string(i) + "]", result[i], type == "matrix",
               &file, diagnostics);
  }
  DropEmpty(&file);
  return file;
}

UsageFile ParsePrometheus(const std::string& name, std::string_view text,
                          Diagnostics* diagnostics) {
  const std::size_t first = text.find_first_not_of(" \t\r\n\xEF\xBB\xBF");
  return first != std::string_view::npos && text[first] == '{'
             ? ParsePrometheusJson(name, text, diagnostics)
             : ParsePrometheusText(name, text, diagnostics);
}

Result<UsageFile> ReadUsageFile(const std::string& path) {
  const TextLimits limits{kMaxUsageBytes, kMaxUsageBytes};  // an answer of the API is one line
  const auto text = ReadText(path, nullptr, limits);
  if (!text) return tl::unexpected<Error>(text.error());
  Diagnostics diagnostics;
  UsageFile file = ParsePrometheus(path, *text, &diagnostics);
  if (!diagnostics.ok()) return tl::unexpected<Error>(diagnostics.ToError());
  return file;
}

}  // namespace basalt::trace
