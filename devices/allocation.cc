#include "devices/allocation.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "devices/registration.h"

namespace basalt::devices {
namespace {

using nlohmann::json;

constexpr std::string_view kMigKey = "hami.io/vgpu-mig-allocations";
constexpr std::string_view kVolcanoKey = "volcano.sh/vgpu-ids-new";
constexpr std::string_view kKunlunKey = "hami.io/kunlun-allocated";
constexpr std::size_t kMaxGrantBytes = std::size_t{1} << 18;
constexpr std::size_t kMaxSlots = 4096;
constexpr std::size_t kMaxUuid = 128;

bool ReadNumber(std::string_view text, std::int32_t* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && *out >= 0;
}

// "uuid,word,MiB,cores" and whatever stands behind.
Result<GrantedCard> ReadCard(const std::string& key, std::string_view text) {
  const auto parts = SplitAt(text, ',');
  if (parts.size() < 4) return Fail(key, fmt::format("a card has {} fields, not 4", parts.size()));
  GrantedCard card;
  std::string_view uuid = parts[0];
  if (uuid.ends_with(']')) {
    const std::size_t bracket = uuid.find('[');
    card.instance = bracket != std::string_view::npos;
    uuid = uuid.substr(0, bracket);
  }
  if (uuid.empty() || uuid.size() > kMaxUuid) return Fail(key, "a card has no UUID");
  card.uuid = uuid;
  std::int32_t memory = 0;
  if (!ReadNumber(parts[2], &memory) || !ReadNumber(parts[3], &card.cores)) {
    return Fail(key, "memory or cores of a card are no whole number of 32 bits");
  }
  card.memory_mib = memory;
  return card;
}

Result<Grant> ReadGrant(const std::string& key, std::string_view text) {
  if (text.size() > kMaxGrantBytes) return Fail(key, "is larger than 256 KiB");
  Grant out{.key = key};
  for (const std::string_view slot : SplitAt(text, ';')) {
    std::vector<GrantedCard>& cards = out.slots.emplace_back();
    if (out.slots.size() > kMaxSlots) return Fail(key, "has more than 4096 slots");
    for (const std::string_view device : SplitAt(slot, ':')) {
      if (device.empty()) continue;
      Result<GrantedCard> card = ReadCard(key, device);
      if (!card) return tl::unexpected<Error>(card.error());
      cards.push_back(std::move(*card));
    }
  }
  // What stands behind the last ';' is no container's.
  while (!out.slots.empty() && out.slots.back().empty()) out.slots.pop_back();
  return out;
}

std::int32_t Member(const json& object, const char* name, std::int32_t otherwise) {
  const auto at = object.find(name);
  if (at == object.end() || !at->is_number_integer()) return otherwise;
  if (at->is_number_unsigned() && at->get<std::uint64_t>() > 1'000'000) return -1;
  const auto value = at->get<std::int64_t>();
  return value < 0 || value > 1'000'000 ? -1 : static_cast<std::int32_t>(value);
}

// [{"containerIndex","deviceIndex","gpuUUID","profile","placement":{"start","size"}}]: they agree
// with the slots card by card.
Status AddMig(std::string_view text, Grant* grant) {
  const std::string key(kMigKey);
  if (text.size() > kMaxGrantBytes) return Fail(key, "is larger than 256 KiB");
  const json list = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!list.is_array()) return Fail(key, "is not a JSON list");
  for (const json& entry : list) {
    if (!entry.is_object()) return Fail(key, "an entry is not an object");
    // Go leaves out zeros.
    const std::int32_t container = Member(entry, "containerIndex", 0);
    const std::int32_t device = Member(entry, "deviceIndex", 0);
    const auto profile = entry.find("profile");
    const auto uuid = entry.find("gpuUUID");
    const auto place = entry.find("placement");
    if (container < 0 || device < 0 || profile == entry.end() || !profile->is_string() ||
        uuid == entry.end() || !uuid->is_string() || place == entry.end() || !place->is_object()) {
      return Fail(key, "an entry lacks its container, card, profile or placement");
    }
    const auto c = static_cast<std::size_t>(container), d = static_cast<std::size_t>(device);
    if (c >= grant->slots.size() || d >= grant->slots[c].size() ||
        grant->slots[c][d].uuid != uuid->get_ref<const std::string&>()) {
      return Fail(key,
                  fmt::format("card {} of container {} is not the one of {}", d, c, grant->key));
    }
    grant->slots[c][d].mig_profile = profile->get<std::string>();
    grant->slots[c][d].mig_start = Member(*place, "start", 0);
  }
  return {};
}

// The interface that writes the record for cards of the model; nothing: none of the catalog.
std::optional<Interface> InterfaceOf(const Catalog& catalog, const CardModel& model,
                                     const std::string& key) {
  const Vendor* vendor = FindVendor(catalog, model.vendor);
  for (const Interface& interface : vendor->interfaces) {
    if (!Serves(interface, model)) continue;
    Interface own = HasWord(interface) ? ForWord(interface, model.word) : interface;
    if (std::ranges::find(own.annotations, key, &AnnotationForm::key) != own.annotations.end()) {
      return own;
    }
  }
  return std::nullopt;
}

// For each slot of the grant its place among the request's slots; empty: they do not agree.
std::vector<std::size_t> PlacesOf(const Grant& grant, const PodRequest& request) {
  std::vector<std::size_t> used;  // slots with cards
  for (std::size_t i = 0; i < grant.slots.size(); ++i) {
    if (!grant.slots[i].empty()) used.push_back(i);
  }
  std::size_t inits = 0;
  std::vector<std::size_t> asking, apps;  // containers with cards; of these those that are no init
  for (std::size_t i = 0; i < request.slots.size(); ++i) {
    inits += request.slots[i].init ? 1 : 0;
    if (request.slots[i].container < 0) continue;
    asking.push_back(i);
    if (!request.slots[i].init) apps.push_back(i);
  }
  std::vector<std::size_t> out(grant.slots.size(), request.slots.size());
  for (const std::size_t skipped : {std::size_t{0}, inits}) {
    if (std::ranges::all_of(used, [&](std::size_t i) {
          return std::ranges::find(asking, i + skipped) != asking.end();
        })) {
      for (const std::size_t i : used) out[i] = i + skipped;
      return out;
    }
  }
  const std::vector<std::size_t>* order = used.size() == asking.size() ? &asking
                                          : used.size() == apps.size() ? &apps
                                                                       : nullptr;
  if (order == nullptr) return {};
  for (std::size_t k = 0; k < used.size(); ++k) out[used[k]] = (*order)[k];
  return out;
}

void SortSlices(std::vector<SliceTake>* slices) {
  std::ranges::stable_sort(
      *slices, {}, [](const SliceTake& t) { return std::tuple(t.container, t.card, t.mig_start); });
}

std::int32_t Schedulable(const CardSpec& card) {
  return static_cast<std::int32_t>(card.memory_mib * card.memory_ratio_percent / 100);
}

// All of the card, as the engine charges it.
void TakeWhole(const CardSpec& card, const CardModel* model, SliceTake* take) {
  const CardDemand demand =
      DemandOn({.milli = kWholeCard, .whole = true}, model == nullptr ? nullptr : &model->rules,
               static_cast<std::int32_t>(card.memory_mib), Schedulable(card), card.compute_milli);
  take->milli = demand.milli;
  take->memory = demand.memory;
  take->whole = true;
}

Status TakePart(const Catalog& catalog, const Grant& grant, const GrantedCard& granted,
                const CardSpec& card, SliceTake* take) {
  const CardModel* model = FindModel(catalog, card.model);
  if (card.mode == CardMode::kMig || !granted.mig_profile.empty() || granted.instance) {
    const auto* profiles = model == nullptr ? nullptr : &model->rules.mig;
    const auto at = profiles == nullptr
                        ? std::ptrdiff_t{-1}
                        : std::ranges::find(*profiles, granted.mig_profile, &MigProfile::name) -
                              profiles->begin();
    if (granted.mig_profile.empty() || at < 0 || std::cmp_greater_equal(at, profiles->size()) ||
        at > 127 || granted.mig_start < 0 || granted.mig_start >= kMaxMigSlots) {
      return Fail("card " + granted.uuid, "has a MIG instance whose profile or place is not told");
    }
    const MigProfile& profile = (*profiles)[static_cast<std::size_t>(at)];
    take->mig_profile = static_cast<std::int8_t>(at);
    take->mig_start = static_cast<std::int8_t>(granted.mig_start);
    take->milli = static_cast<std::int16_t>(profile.compute_milli);
    take->memory = static_cast<std::int32_t>(profile.memory_mib);
    return {};
  }
  const std::optional<Interface> interface =
      model == nullptr ? std::nullopt : InterfaceOf(catalog, *model, grant.key);
  const std::int64_t all = !interface                      ? 100
                           : interface->cores_per_card > 0 ? interface->cores_per_card
                                                           : model->cores;
  const std::int64_t milli = std::min<std::int64_t>(
      granted.cores * std::int64_t{kWholeCard} / std::max<std::int64_t>(all, 1), kWholeCard);
  take->milli = static_cast<std::int16_t>(milli);
  take->memory = static_cast<std::int32_t>(granted.memory_mib);
  bool whole = milli == kWholeCard || (interface && interface->takes == Takes::kWhole);
  if (model != nullptr && !model->rules.templates.empty()) {
    const auto& templates = model->rules.templates;
    const auto cut = std::ranges::find(templates, granted.memory_mib, &SliceTemplate::memory_mib);
    whole = whole || (cut == templates.end() ? granted.memory_mib > templates.back().memory_mib
                                             : cut->compute_milli == kWholeCard);
    if (cut != templates.end()) take->milli = static_cast<std::int16_t>(cut->compute_milli);
  }
  if (whole) TakeWhole(card, model, take);
  return {};
}

}  // namespace

bool IsGrant(std::string_view key) {
  constexpr std::string_view kHami = "hami.io/", kAllocated = "-devices-allocated";
  return key == kVolcanoKey || key == kKunlunKey ||
         (key.starts_with(kHami) && key.ends_with(kAllocated) &&
          key.size() > kHami.size() + kAllocated.size());
}

Result<std::vector<Grant>> ReadGrants(const std::map<std::string, std::string>& annotations) {
  std::vector<Grant> out;
  for (const auto& [key, text] : annotations) {
    if (!IsGrant(key)) continue;
    Result<Grant> grant = ReadGrant(key, text);
    if (!grant) return tl::unexpected<Error>(grant.error());
    if (const auto mig = annotations.find(std::string(kMigKey));
        key == "hami.io/vgpu-devices-allocated" && mig != annotations.end()) {
      if (Status ok = AddMig(mig->second, &*grant); !ok) return tl::unexpected<Error>(ok.error());
    }
    if (!grant->slots.empty()) out.push_back(std::move(*grant));
  }
  return out;
}

Result<std::vector<SliceTake>> SlicesOf(const Catalog& catalog, const std::vector<Grant>& grants,
                                        const PodRequest& request,
                                        const std::vector<CardSpec>& cards, bool init_done) {
  std::vector<SliceTake> apps, inits;
  for (const Grant& grant : grants) {
    const std::vector<std::size_t> places = PlacesOf(grant, request);
    if (places.empty()) {
      return Fail(grant.key, "has slots for other containers than those that ask for cards");
    }
    for (std::size_t i = 0; i < grant.slots.size(); ++i) {
      for (const GrantedCard& granted : grant.slots[i]) {
        const ContainerSlot& slot = request.slots[places[i]];
        const auto at = std::ranges::find(cards, granted.uuid, &CardSpec::uuid);
        if (at == cards.end()) return Fail("card " + granted.uuid, "is not on the node");
        SliceTake take{.card = static_cast<std::int8_t>(at - cards.begin()),
                       .container = static_cast<std::int8_t>(slot.container)};
        if (Status ok = TakePart(catalog, grant, granted, *at, &take); !ok) {
          return tl::unexpected<Error>(ok.error());
        }
        (slot.init && !slot.sidecar ? inits : apps).push_back(take);
      }
    }
  }
  // An init container has its cards of the container that it is like; others are more, while it
  // runs.
  for (const SliceTake& take : inits) {
    if (init_done) break;
    if (std::ranges::none_of(apps, [&](const SliceTake& app) {
          return app.card == take.card && app.container == take.container;
        })) {
      apps.push_back(take);
    }
  }
  std::ranges::stable_sort(
      apps, {}, [](const SliceTake& t) { return std::tuple(t.container, t.card, t.mig_start); });
  return apps;
}

Result<CardSet> GrantedCards(std::string_view text, const std::vector<CardSpec>& cards) {
  const std::string key(kGrantedKey);
  if (text.size() > kMaxGrantBytes) return Fail(key, "is larger than 256 KiB");
  const json list = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!list.is_array()) return Fail(key, "is not a JSON list");
  CardSet out;
  for (const json& entry : list) {
    const auto ids = entry.is_object() ? entry.find("ids") : entry.end();
    if (!entry.is_object() || ids == entry.end() || !ids->is_array()) {
      return Fail(key, "an entry has no ids");
    }
    CardSet named;
    bool others = false;
    for (const json& id : *ids) {
      if (!id.is_string()) return Fail(key, "an id is no text");
      const std::string& whole = id.get_ref<const std::string&>();
      const std::string uuid = whole.substr(0, whole.find("::"));
      const auto at = std::ranges::find(cards, uuid, &CardSpec::uuid);
      others = others || at == cards.end();
      if (at != cards.end()) named.Add(static_cast<int>(at - cards.begin()));
    }
    if (others && !named.empty()) return Fail(key, "some of a resource's ids are no cards here");
    for (const int card : named) out.Add(card);
  }
  return out;
}

bool AreAlike(const std::vector<SliceTake>& left, const std::vector<SliceTake>& right) {
  std::vector<SliceTake> a = left, b = right;
  SortSlices(&a);
  SortSlices(&b);
  // Sixteen cores a card are the coarsest.
  constexpr int kCore = kWholeCard / 16;
  return std::ranges::equal(a, b, [](const SliceTake& x, const SliceTake& y) {
    return x.card == y.card && x.container == y.container && x.mig_profile == y.mig_profile &&
           x.mig_start == y.mig_start && x.whole == y.whole && x.memory == y.memory &&
           std::abs(x.milli - y.milli) <= kCore;
  });
}

}  // namespace basalt::devices
