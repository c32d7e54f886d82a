#include "scheduler-core/queueing/resources.h"

#include <fmt/format.h>

#include "scheduler-core/base/units.h"

namespace basalt {
namespace {

std::string_view Family(std::string_view name) { return name.substr(0, name.find('/')); }

std::string Milli(std::int64_t amount) {
  const std::int64_t part = amount % 1000;
  std::string text = fmt::format("{}{}", amount < 0 && amount > -1000 ? "-" : "", amount / 1000);
  if (part == 0) return text;
  text += fmt::format(".{:03}", part < 0 ? -part : part);
  while (text.back() == '0') text.pop_back();
  return text;
}

}  // namespace

ResourceId ResourceTable::Intern(std::string_view name) {
  if (const auto it = by_name_.find(name); it != by_name_.end()) return it->second;
  const ResourceId id(names_.size());
  names_.emplace_back(name);
  by_name_.emplace(names_.back(), id);
  return id;
}

std::optional<ResourceId> ResourceTable::Find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? std::nullopt : std::optional<ResourceId>(it->second);
}

CardResources ResourceTable::ForModel(std::string_view model) {
  CardResources ids;
  ids.gpu = Intern("gpu");
  ids.cards = Intern("cards");
  ids.slices = Intern("slices");
  ids.memory = Intern("gpu-memory");
  if (!model.empty()) {
    ids.gpu_model = Intern(fmt::format("gpu/{}", model));
    ids.cards_model = Intern(fmt::format("cards/{}", model));
    ids.memory_model = Intern(fmt::format("gpu-memory/{}", model));
  }
  return ids;
}

Amounts ResourceTable::Make(const AmountMap& amounts) {
  Amounts out;
  for (const auto& [name, amount] : amounts) out.Set(Intern(name), amount);
  return out;
}

std::string ResourceTable::Format(ResourceId id, std::int64_t amount) const {
  const std::string_view family = Family(name(id));
  if (family == "cpu" || family == "gpu") return Milli(amount);
  if (family == "memory" || family == "gpu-memory") return fmt::format("{} MiB", amount);
  return std::to_string(amount);
}

Status ValidateResourceName(std::string_view name, const std::string& where) {
  const bool blank = std::any_of(name.begin(), name.end(), [](char c) {
    return c == '\t' || c == '\n' || c == '\r';  // a model's name may have spaces
  });
  const std::size_t slash = name.find('/');
  if (name.empty() || blank || slash == 0 || (slash != name.npos && slash + 1 == name.size())) {
    return Fail(where, fmt::format("\"{}\" is not a resource name: write cpu, memory, gpu, "
                                   "gpu/MODEL, cards, slices, gpu-memory, sku/NAME or a name of "
                                   "your own without tabs",
                                   name.substr(0, 80)));
  }
  return {};
}

void AddCards(const CardResources& ids, std::int64_t count, std::int64_t milli,
              std::int64_t memory_mib, Amounts* out) {
  const auto add = [&](ResourceId total, ResourceId of_model, std::int64_t amount) {
    if (amount == 0) return;
    out->Add(total, amount);
    if (of_model.valid()) out->Add(of_model, amount);
  };
  add(ids.gpu, ids.gpu_model, count * milli);
  add(ids.memory, ids.memory_model, count * memory_mib);
  if (milli >= kWholeCard) {
    add(ids.cards, ids.cards_model, count);
  } else {
    add(ids.slices, ResourceId(), count);
  }
}

}  // namespace basalt
