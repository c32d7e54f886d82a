// Values of platform scenarios as people write them, and option tables that read them: lengths of
// time (30s, 15m, 1.5h, 7d), sizes (512MiB, 40GiB), shares (80%), lengths that are drawn
// (exponential(4h)). A value that cannot be read is an error with its place, never a default.
#pragma once

#include <fmt/format.h>

#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "scheduler-core/base/suggest.h"
#include "scheduler-core/config/options.h"
#include "sim/platform/spec.h"

namespace basalt::cli {

// Each is empty for text that is none. Units are required, but for 0.
std::optional<std::int64_t> ParseDurationUs(std::string_view text);  // ms s m h d
std::optional<std::int64_t> ParseSizeMib(std::string_view text);     // MiB GiB TiB
std::optional<std::int64_t> ParseShareMilli(std::string_view text);  // "80%" is 800, "1.5%" is 15
std::optional<double> ParseNumber(std::string_view text);            // finite
// "4h", "exponential(4h)", "lognormal(4h, 1.5)" (mean, sigma of the logarithm), each with bounds as
// the last argument: "exponential(4h, 10m..16h)".
std::optional<sim::DurationSpec> ParseDrawnDuration(std::string_view text);
std::string FormatDuration(std::int64_t us);

// A name that another part of the file must define, and where it was used.
struct Reference {
  enum class Kind : std::uint8_t { kCluster, kTenant, kSku, kQueue };
  Kind kind;
  std::string name;
  YAML::Node at;
};
// What entries of a file have beside their values.
struct Entry {
  std::vector<Reference> references;
};

// An option table with the values above. Fields may be of a base of T, and of any integer type.
template <class T>
class Keys : public config::OptionTable<T> {
 public:
  using Info = config::OptionInfo;

  template <class B, std::integral I>
  Keys& Duration(Info info, I B::* field) {
    return Scalar(std::move(info), "duration", "a length of time such as 30s, 15m, 6h or 7d",
                  ParseDurationUs, field);
  }
  template <class B, std::integral I>
  Keys& Size(Info info, I B::* field) {
    return Scalar(std::move(info), "size", "a size such as 512MiB or 40GiB", ParseSizeMib, field);
  }
  // The field is in thousandths.
  template <class B, std::integral I>
  Keys& Share(Info info, I B::* field) {
    return Scalar(std::move(info), "share", "a percentage such as 80%", ParseShareMilli, field, 10);
  }
  // The field is in percent, and whole.
  template <class B, std::integral I>
  Keys& Percent(Info info, I B::* field) {
    const auto parse = [](std::string_view text) -> std::optional<std::int64_t> {
      const auto milli = ParseShareMilli(text);
      if (!milli || *milli % 10 != 0) return {};
      return *milli / 10;
    };
    return Scalar(std::move(info), "share", "a whole percentage such as 150%", parse, field);
  }
  // A number of cores (cards); the field is in thousandths.
  template <class B, std::integral I>
  Keys& Thousandths(Info info, I B::* field) {
    const auto parse = [](std::string_view text) -> std::optional<std::int64_t> {
      const auto value = ParseNumber(text);
      if (!value || *value < 0 || *value > 1e9) return {};
      return static_cast<std::int64_t>(*value * 1000 + 0.5);
    };
    return Scalar(std::move(info), "number", "a number of 0 or more", parse, field, 1000);
  }
  template <class B>
  Keys& Number(Info info, double B::* field) {
    return Scalar(std::move(info), "number", "a number", ParseNumber, field);
  }
  template <class B, std::integral I>
  Keys& Count(Info info, I B::* field) {
    info.type = "integer";
    this->Custom(std::move(info), [field](const auto& file, const auto& node, const auto& option,
                                          T* out, config::Errors* errors) {
      std::int64_t value = 0;
      config::OptionInfo bounded = option;
      bounded.low = std::max(option.low, static_cast<double>(std::numeric_limits<I>::lowest()));
      bounded.high = std::min(option.high, static_cast<double>(std::numeric_limits<I>::max()));
      if (config::ReadInteger(file, node, bounded, &value, errors)) {
        out->*field = static_cast<I>(value);
      }
    });
    return *this;
  }
  template <class B>
  Keys& Flag(Info info, bool B::* field) {
    return Choice(std::move(info), field, {{"true", true}, {"false", false}}, "true or false");
  }
  template <class B>
  Keys& Drawn(Info info, sim::DurationSpec B::* field) {
    return Scalar(
        std::move(info), "drawn duration",
        "4h, exponential(4h), lognormal(4h, 1.5) or with bounds exponential(4h, 10m..16h)",
        ParseDrawnDuration, field);
  }
  // One of some words.
  template <class B, class V>
  Keys& Choice(Info info, V B::* field, std::vector<std::pair<std::string, V>> words,
               const std::string& type = "") {
    std::vector<std::string> names;
    for (const auto& [word, value] : words) names.push_back(word);
    info.type = type.empty() ? fmt::format("{}", fmt::join(names, ", ")) : type;
    this->Custom(std::move(info), [field, words = std::move(words), names = std::move(names)](
                                      const auto& file, const auto& node, const auto& option,
                                      T* out, config::Errors* errors) {
      std::string text;
      if (!config::ReadText(file, node, option, &text, errors)) return;
      for (const auto& [word, value] : words) {
        if (word != text) continue;
        out->*field = value;
        return;
      }
      errors->Add(file, node, fmt::format("{} is no {}", SuggestText(text, names), option.name));
    });
    return *this;
  }
  template <class B>
  Keys& Text(Info info, std::string B::* field) {
    config::OptionTable<T>::Text(std::move(info), field);
    return *this;
  }
  template <class B>
  Keys& TextList(Info info, std::vector<std::string> B::* field) {
    config::OptionTable<T>::TextList(std::move(info), field);
    return *this;
  }
  template <class B, class U>
  Keys& Maps(Info info, std::vector<U> B::* field, const config::OptionTable<U>& table) {
    std::vector<U> T::* own = field;
    config::OptionTable<T>::Maps(std::move(info), own, table);
    return *this;
  }
  template <class B, class U>
  Keys& Map(Info info, U B::* field, const config::OptionTable<U>& table) {
    info.type = "map";
    this->Custom(std::move(info), [field, &table](const auto& file, const auto& node, const auto&,
                                                  T* out, config::Errors* errors) {
      table.Parse(file, node, &(out->*field), errors);
    });
    return *this;
  }
  Keys& Custom(Info info, typename config::OptionTable<T>::Read read) {
    config::OptionTable<T>::Custom(std::move(info), std::move(read));
    return *this;
  }
  // Text that names something of the file.
  template <class B>
  Keys& Name(Info info, Reference::Kind kind, std::string B::* field) {
    info.type = "name";
    this->Custom(std::move(info),
                 [kind, field](const auto& file, const auto& node, const auto& option, T* out,
                               config::Errors* errors) {
                   if (!config::ReadText(file, node, option, &(out->*field), errors)) return;
                   out->references.push_back({kind, out->*field, node});
                 });
    return *this;
  }
  template <class B>
  Keys& Names(Info info, Reference::Kind kind, std::vector<std::string> B::* field) {
    info.type = "list of names";
    this->Custom(std::move(info),
                 [kind, field](const auto& file, const auto& node, const auto& option, T* out,
                               config::Errors* errors) {
                   if (!config::CheckList(file, node, option, errors)) return;
                   for (const YAML::Node& item : node) {
                     std::string text;
                     if (!config::ReadText(file, item, option, &text, errors)) continue;
                     out->references.push_back({kind, text, item});
                     (out->*field).push_back(std::move(text));
                   }
                 });
    return *this;
  }

 private:
  // `scale`: the field's units in one of the bounds' units.
  template <class B, class F, class P>
  Keys& Scalar(Info info, const char* type, const char* wanted, P parse, F B::* field,
               double scale = 1) {
    info.type = type;
    this->Custom(std::move(info), [=](const auto& file, const auto& node, const auto& option,
                                      T* out, config::Errors* errors) {
      const auto value = node.IsScalar() ? parse(node.Scalar()) : decltype(parse("")){};
      if (!value) {
        errors->Add(file, node, fmt::format("{} must be {}", option.name, wanted));
        return;
      }
      if constexpr (std::is_arithmetic_v<F>) {
        constexpr double kLargest = std::numeric_limits<double>::max();
        double low = option.low * scale, high = option.high * scale;
        if (option.low <= std::numeric_limits<double>::lowest()) low = option.low;
        if (option.high >= kLargest) high = option.high;
        if constexpr (std::is_integral_v<F>) {
          high = std::min(high, static_cast<double>(std::numeric_limits<F>::max()));
        }
        if (static_cast<double>(*value) < low || static_cast<double>(*value) > high) {
          errors->Add(
              file, node,
              fmt::format("{} is {}, outside {}{}", option.name, node.Scalar(),
                          config::RangeText(option.low,
                                            option.high < kLargest ? option.high : high / scale),
                          option.unit.empty() ? "" : " " + option.unit));
          return;
        }
        out->*field = static_cast<F>(*value);
      } else {
        out->*field = *value;
      }
    });
    return *this;
  }
};

}  // namespace basalt::cli
