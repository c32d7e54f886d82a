#include "devices/passthrough.h"

#include <algorithm>
#include <string>

namespace basalt::devices {
namespace {

bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// "TU104GL", "GA100": letters, digits, letters.
bool IsChip(std::string_view text) {
  const auto digits = std::ranges::find_if_not(text, IsUpper);
  const auto end = std::find_if_not(digits, text.end(), IsDigit);
  return digits - text.begin() == 2 && end - digits >= 2 && std::all_of(end, text.end(), IsUpper);
}

std::string Plain(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (IsUpper(c)) {
      out += static_cast<char>(c - 'A' + 'a');
    } else if (c != ' ' && c != '-' && c != '_') {
      out += c;
    }
  }
  for (const std::string_view maker : {"nvidia", "tesla"}) {
    if (out.starts_with(maker)) out.erase(0, maker.size());
  }
  return out;
}

}  // namespace

const CardModel* PassthroughModel(const Catalog& catalog, std::string_view resource) {
  constexpr std::string_view kDomain = "nvidia.com/";
  if (!resource.starts_with(kDomain)) return nullptr;
  const std::string_view name = resource.substr(kDomain.size());
  const std::size_t split = name.find('_');
  if (split == std::string_view::npos || !IsChip(name.substr(0, split))) return nullptr;
  const std::string model_name = Plain(name.substr(split + 1));
  const Vendor* vendor = FindVendor(catalog, "nvidia");
  if (vendor == nullptr || model_name.empty()) return nullptr;
  for (const CardModel& model : vendor->models) {
    if (Plain(model.name) == model_name ||
        std::ranges::any_of(model.aliases, [&](const auto& a) { return Plain(a) == model_name; })) {
      return &model;
    }
  }
  return nullptr;
}

}  // namespace basalt::devices
