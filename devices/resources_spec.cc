#include "devices/resources_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <set>

#include "devices/passthrough.h"
#include "devices/quantity.h"
#include "scheduler-core/workload/request.h"
#include "topology/card_set.h"

namespace basalt::devices {
namespace {

constexpr std::int64_t kMib = std::int64_t{1} << 20;

// The quantity of a resource: limits first. Errors: no whole number, though it must be one.
Result<std::optional<Quantity>> Find(const NamedAmounts& amounts, const std::string& name,
                                     bool limits_only, const std::string& where) {
  if (name.empty()) return std::nullopt;
  const Amounts* from = &amounts.limits;
  auto at = from->find(name);
  if (at == from->end() && !limits_only) {
    from = &amounts.requests;
    at = from->find(name);
  }
  if (at == from->end()) return std::nullopt;
  const std::string place = where + ": " + name;
  const auto quantity = ParseQuantity(at->second, place);
  if (!quantity) return tl::unexpected<Error>(quantity.error());
  if (!quantity->whole) {
    return Fail(place, fmt::format("\"{}\" must be a whole number", at->second.substr(0, 80)));
  }
  return *quantity;
}

Status InRange(std::int64_t value, std::int64_t low, std::int64_t high, const std::string& place) {
  if (value >= low && value <= high) return {};
  return Fail(place, fmt::format("{} is outside {}..{}", value, low, high));
}

// A memory quantity in MiB.
Result<std::int64_t> ToMib(const Interface& interface, const Quantity& q, bool check_values,
                           const std::string& place) {
  std::int64_t mib = 0;
  if (interface.memory_suffix_bytes && q.has_suffix) {
    mib = q.value / kMib + (q.value % kMib == 0 ? 0 : 1);
  } else {
    const auto& legal = interface.memory_values;
    if (check_values && !legal.empty() && std::ranges::find(legal, q.value) == legal.end()) {
      return Fail(place, fmt::format("{} is not one of {}", q.value, fmt::join(legal, ", ")));
    }
    const bool plain_mib = interface.memory_mib_above > 0 && q.value > interface.memory_mib_above;
    const std::int64_t unit = plain_mib ? 1 : interface.memory_unit_mib;
    if (q.value > kMaxAmount / unit) {
      return Fail(
          place, fmt::format("{} units of {} MiB are more than {} MiB", q.value, unit, kMaxAmount));
    }
    mib = q.value * unit;
  }
  if (Status ok = InRange(mib, 0, kMaxAmount, place); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return mib;
}

// Compute in milli of a quantity in the interface's cores.
std::int64_t ToMilli(const Offer& offer, std::int64_t cores) {
  const Interface& interface = offer.interface;
  if (cores == 0) return 0;
  if (interface.cores_per_card > 0 && !interface.cores_percent) {
    return std::min<std::int64_t>(kWholeCard, kWholeCard * cores / interface.cores_per_card);
  }
  return std::min<std::int64_t>(cores, 100) * 10;
}

bool HasRules(const Offer& offer, bool (*test)(const CardModel&)) {
  return !offer.models.empty() &&
         std::ranges::all_of(offer.models, [&](const CardModel* m) { return test(*m); });
}

// Amounts that only whole cards have become whole cards; those that no card has are errors.
Status FitTemplates(const Offer& offer, CardsAsked* ask, const std::string& place) {
  if (ask->memory_mib == 0 ||
      !HasRules(offer, [](const CardModel& m) { return !m.rules.templates.empty(); })) {
    return {};
  }
  std::int64_t largest = 0;
  bool part = false;
  for (const CardModel* model : offer.models) {
    largest = std::max(largest, model->capacity_mib);
    for (const SliceTemplate& t : model->rules.templates) {
      part = part || (t.compute_milli < kWholeCard && t.memory_mib >= ask->memory_mib);
    }
  }
  if (ask->memory_mib > largest) {
    return Fail(place,
                fmt::format("{} MiB are more than a card has, {} MiB", ask->memory_mib, largest));
  }
  if (!part) {
    ask->milli = kWholeCard;
    ask->memory_mib = 0;
    ask->percent = 100;
  }
  return {};
}

// The vendor's rules about counts. A die of a two-die module takes the module.
Status FitCount(const Offer& offer, CardsAsked* ask, const std::string& where) {
  const bool whole = ask->milli == kWholeCard;
  if (ask->count > 1 && !whole &&
      HasRules(offer, [](const CardModel& m) { return !m.rules.several_slices; })) {
    return Fail(where, fmt::format("{} cards of {} are whole ones; ask for one card, or leave "
                                   "memory and cores out",
                                   ask->count, offer.models.front()->name));
  }
  std::vector<std::int32_t> allowed;
  for (const CardModel* model : offer.models) {
    const CardRules& rules = model->rules;
    if (rules.counts.empty()) return {};
    std::int64_t count = ask->count;
    if (rules.grouping == CardGrouping::kModules && count < rules.group_size) {
      count = rules.group_size;
    }
    if (std::ranges::find(rules.counts, count) != rules.counts.end()) {
      ask->count = count;
      return {};
    }
    allowed = rules.counts;
  }
  return offer.models.empty()
             ? Status()
             : Status(
                   Fail(where, fmt::format("{} cards of {}; its containers may have {}", ask->count,
                                           offer.models.front()->name, fmt::join(allowed, ", "))));
}

// nvidia.com/mig-1g.10gb: N
Result<CardsAsked> AskMig(const Offer& offer, const NamedAmounts& amounts,
                          const std::string& where) {
  CardsAsked ask;
  std::string resource;
  for (const Amounts* from : {&amounts.limits, &amounts.requests}) {
    for (const auto& [name, quantity] : *from) {
      if (!name.starts_with(offer.interface.mig_prefix) || name == resource) continue;
      if (!resource.empty()) {
        return Fail(where, fmt::format("{} and {}: a pod may have one MIG profile", resource,
                                       name.substr(0, 80)));
      }
      resource = name;
    }
  }
  const auto count = Find(amounts, resource, false, where);
  if (!count) return tl::unexpected<Error>(count.error());
  if (!*count || (*count)->value == 0) return ask;
  const std::string place = where + ": " + resource;
  if (Status ok = InRange((*count)->value, 1, kMaxCardsPerNode, place); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  ask.count = (*count)->value;
  ask.mig_profile = resource.substr(offer.interface.mig_prefix.size());
  if (ask.mig_profile.ends_with(".me")) {  // resource names cannot hold a plus
    ask.mig_profile.replace(ask.mig_profile.size() - 3, 1, "+");
  }
  for (const CardModel* model : offer.models) {
    for (const MigProfile& profile : model->rules.mig) {
      if (profile.name != ask.mig_profile) continue;
      ask.memory_mib =
          ask.memory_mib == 0 ? profile.memory_mib : std::min(ask.memory_mib, profile.memory_mib);
    }
  }
  if (ask.memory_mib == 0) return Fail(place, "no model of the catalog has this MIG profile");
  return ask;
}

// enflame.com/drs-gcu: N slots of one card.
Result<CardsAsked> AskSlots(const Offer& offer, std::int64_t slots, const std::string& place) {
  std::vector<std::int32_t> known;
  for (const CardModel* model : offer.models) {
    for (std::size_t i = 0; i < model->template_slots.size(); ++i) {
      known.push_back(model->template_slots[i]);
      if (model->template_slots[i] != slots) continue;
      const SliceTemplate& t = model->rules.templates[i];
      CardsAsked ask{.count = 1, .memory_mib = t.memory_mib, .milli = t.compute_milli};
      if (t.compute_milli == kWholeCard) {
        ask.memory_mib = 0;
        ask.percent = 100;
      }
      return ask;
    }
  }
  return Fail(place,
              fmt::format("{} slots are no profile; there are {}", slots, fmt::join(known, ", ")));
}

}  // namespace

std::vector<Offer> OffersFor(const Catalog& catalog,
                             const std::map<std::string, std::string>& annotations) {
  std::vector<Offer> offers;
  for (const Vendor& vendor : catalog.vendors) {
    for (const Interface& interface : vendor.interfaces) {
      if (!interface.mode_key.empty()) {
        const auto at = annotations.find(interface.mode_key);
        if (at == annotations.end() || at->second != interface.mode_value) continue;
      }
      std::map<std::string, std::vector<const CardModel*>> by_word;
      for (const CardModel& model : vendor.models) {
        if (!Serves(interface, model)) continue;
        by_word[HasWord(interface) ? model.word : std::string()].push_back(&model);
      }
      for (auto& [word, models] : by_word) {
        const bool some = models.size() != vendor.models.size();
        offers.push_back(
            {word.empty() ? interface : ForWord(interface, word), std::move(models), some});
      }
    }
  }
  // Where a mode is chosen, its interface has the names for itself.
  std::set<std::string> moded;
  for (const Offer& offer : offers) {
    if (!offer.interface.mode_key.empty()) moded.insert(offer.interface.count);
  }
  std::erase_if(offers, [&](const Offer& offer) {
    return offer.interface.mode_key.empty() && moded.contains(offer.interface.count);
  });
  return offers;
}

Result<NamedAmounts> RenameModelResources(const Catalog& catalog, const PodContainer& container,
                                          const std::string& where) {
  NamedAmounts out;
  const auto rename = [&](const Amounts& from, Amounts* to) -> Status {
    for (const auto& [name, quantity] : from) {
      const std::string tail = name.substr(name.rfind('/') + 1);
      std::string as = name;
      std::vector<std::string> models;
      for (const Vendor& vendor : catalog.vendors) {
        for (const ModelResource& resource : vendor.model_resources) {
          const std::size_t at = resource.name.find("$model");
          if (at == std::string::npos) continue;
          const std::string head = resource.name.substr(0, at);
          const std::string end = resource.name.substr(at + 6);
          if (tail.size() <= head.size() + end.size() || !tail.starts_with(head) ||
              !tail.ends_with(end)) {
            continue;
          }
          const std::string shorter =
              tail.substr(head.size(), tail.size() - head.size() - end.size());
          for (const CardModel& model : vendor.models) {
            if (std::ranges::find(model.short_names, shorter) == model.short_names.end()) continue;
            as = resource.as;
            models.push_back(model.name);
          }
        }
      }
      if (const CardModel* model = PassthroughModel(catalog, name); model != nullptr) {
        as = "nvidia.com/gpu";
        models.push_back(model->name);
        out.passthrough = true;
      }
      if (!models.empty()) {
        if (!out.models.empty() && out.models != models) {
          return Fail(where + ": " + name, "another resource of the container names another model");
        }
        out.models = models;
      }
      if (!to->emplace(as, quantity).second) {
        return Fail(where + ": " + name, "stands beside " + as + ", which it means");
      }
    }
    return {};
  };
  if (Status ok = rename(container.limits, &out.limits); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  if (Status ok = rename(container.requests, &out.requests); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return out;
}

bool AsksThrough(const Interface& interface, const NamedAmounts& amounts) {
  for (const Amounts* from : {&amounts.limits, &amounts.requests}) {
    if (from == &amounts.requests && interface.limits_only) continue;
    for (const auto& [name, quantity] : *from) {
      if (name == interface.count || name == interface.memory || name == interface.percent ||
          name == interface.cores || name == interface.slots ||
          (!interface.mig_prefix.empty() && name.starts_with(interface.mig_prefix))) {
        return true;
      }
    }
  }
  return false;
}

Result<CardsAsked> AskThrough(const Offer& offer, const NamedAmounts& amounts,
                              const std::string& where) {
  const Interface& interface = offer.interface;
  if (!interface.mig_prefix.empty()) return AskMig(offer, amounts, where);
  std::optional<Quantity> found[5];
  const std::string* names[5] = {&interface.count, &interface.memory, &interface.percent,
                                 &interface.cores, &interface.slots};
  for (int i = 0; i < 5; ++i) {
    auto quantity = Find(amounts, *names[i], interface.limits_only, where);
    if (!quantity) return tl::unexpected<Error>(quantity.error());
    found[i] = *quantity;
  }
  const auto& [count, memory, percent, cores, slots] = found;
  if (slots) {
    if (memory || cores) return Fail(where, "ask for slots, or for memory and compute");
    if (slots->value == 0) return CardsAsked{};
    return AskSlots(offer, slots->value, where + ": " + interface.slots);
  }
  if (!count && interface.default_count == 0) {
    const std::string& name = memory    ? interface.memory
                              : percent ? interface.percent
                                        : interface.cores;
    return Fail(where + ": " + name, fmt::format("needs a number of cards, {}", interface.count));
  }
  CardsAsked ask{.count = count ? count->value : interface.default_count};
  if (ask.count == 0) return CardsAsked{};
  if (Status ok = InRange(ask.count, 1, kMaxCardsPerNode, where + ": " + interface.count); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  const bool forced_whole =
      interface.takes == Takes::kWhole || (interface.several_whole && ask.count > 1);
  if (memory) {
    const auto mib = ToMib(interface, *memory, !forced_whole, where + ": " + interface.memory);
    if (!mib) return tl::unexpected<Error>(mib.error());
    ask.memory_mib = *mib;
  }
  if (percent) {
    ask.percent = percent->value;
    if (Status ok = InRange(ask.percent, 0, 100, where + ": " + interface.percent); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
  }
  std::int64_t core = cores ? cores->value : interface.default_cores;
  if (interface.totals && !forced_whole) {
    if (ask.memory_mib % ask.count != 0 || core % ask.count != 0) {
      return Fail(where, fmt::format("memory and cores are for all {} cards together and must "
                                     "divide by them",
                                     ask.count));
    }
    ask.memory_mib /= ask.count;
    core /= ask.count;
  }
  if (ask.memory_mib > 0 && ask.percent > 0) {
    (interface.percent_wins ? ask.memory_mib : ask.percent) = 0;
  }
  const bool all_memory = ask.memory_mib == 0 && (ask.percent == 0 || ask.percent == 100);
  // Where slices are counted in slots, compute alone is an ask of its own.
  const bool only_compute = !interface.slots.empty() && cores && !memory;
  if (ask.memory_mib == 0 && ask.percent == 0 && !only_compute) ask.percent = 100;
  ask.milli = ToMilli(offer, core);
  // All of the memory and nothing said about compute is the card, where compute cannot be asked or
  // the platform says so.
  if (forced_whole ||
      (all_memory && !cores && (interface.exclusive_alone || interface.cores.empty()))) {
    ask.milli = kWholeCard;
  }
  if (forced_whole) {
    ask.memory_mib = 0;
    ask.percent = 100;
  }
  if (Status ok = FitTemplates(offer, &ask, where + ": " + interface.memory); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  if (Status ok = FitCount(offer, &ask, where); !ok) return tl::unexpected<Error>(ok.error());
  return ask;
}

Result<CardsAsked> AskNeutral(const NamedAmounts& amounts, const std::string& where) {
  const std::string names[4] = {std::string(kNeutralCards), std::string(kNeutralMemory),
                                std::string(kNeutralPercent), std::string(kNeutralUnits)};
  std::optional<Quantity> found[4];
  for (int i = 0; i < 4; ++i) {
    auto quantity = Find(amounts, names[i], false, where);
    if (!quantity) return tl::unexpected<Error>(quantity.error());
    found[i] = *quantity;
  }
  const auto& [count, memory, percent, units] = found;
  CardsAsked ask;
  if (!count && !memory && !percent && !units) return ask;
  ask.count = count ? count->value : 1;
  if (ask.count == 0) return CardsAsked{};
  if (Status ok = InRange(ask.count, 1, kMaxCardsPerNode, where + ": " + names[0]); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  if (memory) {
    static const Interface own{.memory_suffix_bytes = true};
    const auto mib = ToMib(own, *memory, false, where + ": " + names[1]);
    if (!mib) return tl::unexpected<Error>(mib.error());
    ask.memory_mib = *mib;
  }
  if (percent) {
    ask.percent = percent->value;
    if (Status ok = InRange(ask.percent, 0, 100, where + ": " + names[2]); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
  }
  if (units) {
    ask.units = units->value;
    if (Status ok = InRange(ask.units, 0, 1'000'000, where + ": " + names[3]); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
  }
  // Memory that is not asked is all of the card's, as under the vendors' names: 0 MiB would be read
  // back as that.
  if (ask.memory_mib == 0 && ask.percent == 0) {
    ask.percent = 100;
    if (ask.units == 0) ask.milli = kWholeCard;
  }
  return ask;
}

Result<std::int64_t> CpuMilliOf(const PodContainer& container, const std::string& where) {
  for (const Amounts* from : {&container.requests, &container.limits}) {
    const auto at = from->find("cpu");
    if (at == from->end()) continue;
    const auto quantity = ParseQuantity(at->second, where + ": cpu");
    if (!quantity) return tl::unexpected<Error>(quantity.error());
    if (Status ok = InRange(quantity->milli, 0, kMaxAmount, where + ": cpu"); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
    return quantity->milli;
  }
  return 0;
}

Result<std::int64_t> MemoryMibOf(const PodContainer& container, const std::string& where) {
  for (const Amounts* from : {&container.requests, &container.limits}) {
    const auto at = from->find("memory");
    if (at == from->end()) continue;
    const auto quantity = ParseQuantity(at->second, where + ": memory");
    if (!quantity) return tl::unexpected<Error>(quantity.error());
    const std::int64_t mib = quantity->value / kMib + (quantity->value % kMib == 0 ? 0 : 1);
    if (Status ok = InRange(mib, 0, kMaxAmount, where + ": memory"); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
    return mib;
  }
  return 0;
}

}  // namespace basalt::devices
