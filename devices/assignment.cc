#include "devices/assignment.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <string_view>

namespace basalt::devices {
namespace {

constexpr std::array<std::string_view, 20> kFormNames = {
    "uuid",      "index",    "type",        "memory",          "memory_units", "cores",
    "template",  "slots",    "profile_id",  "container",       "slices",       "mig_profile",
    "mig_start", "mig_size", "slice_index", "container_index", "node",         "time",
    "time_ns",   "minor"};

std::int64_t CeilDiv(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

bool NameChar(char c) { return (c >= 'a' && c <= 'z') || c == '_'; }

// Calls literal(text) and name(text) for the parts in turn.
void ForParts(std::string_view text, const std::function<void(std::string_view)>& literal,
              const std::function<void(std::string_view)>& name) {
  while (!text.empty()) {
    const std::size_t dollar = std::min(text.find('$'), text.size());
    if (dollar > 0) literal(text.substr(0, dollar));
    text.remove_prefix(dollar);
    if (text.empty()) return;
    text.remove_prefix(1);
    const bool braces = !text.empty() && text.front() == '{';
    if (braces) text.remove_prefix(1);
    std::size_t end = 0;
    while (end < text.size() && NameChar(text[end])) ++end;
    name(text.substr(0, end));
    text.remove_prefix(end);
    if (braces && !text.empty()) text.remove_prefix(1);
  }
}

using Values = std::map<std::string, std::string, std::less<>>;

std::string Fill(const std::string& form, const Values& a, const Values& b) {
  std::string out;
  ForParts(
      form, [&](std::string_view text) { out += text; },
      [&](std::string_view name) {
        if (const auto at = a.find(name); at != a.end()) {
          out += at->second;
        } else if (const auto other = b.find(name); other != b.end()) {
          out += other->second;
        }
      });
  return out;
}

// What every form can hold without an escape: ENC is cut at , : and ; and the JSON forms at quotes.
Status CheckText(const std::string& what, const std::string& text) {
  for (const char c : text) {
    if (c <= ' ' || c == ',' || c == ':' || c == ';' || c == '"' || c == '\\' || c == 0x7f) {
      return Fail(what, fmt::format("\"{}\" holds a character that plugins cannot read",
                                    text.substr(0, 80)));
    }
  }
  return {};
}

struct Slice {
  const SliceTake* take = nullptr;
  const CardModel* model = nullptr;
  Values values;
};

struct Context {
  const Interface* interface = nullptr;
  const PodRequest* request = nullptr;
  bool init_slots = true;                             // also for init containers without cards
  std::vector<std::vector<Slice>> by_container = {};  // of the RequestSpec
  Values pod = {};
};

// A slice's compute as the plugin counts it.
std::int64_t CoresOf(const Interface& interface, const SliceTake& take, const CardModel& model) {
  const std::int64_t all = interface.cores_per_card > 0 ? interface.cores_per_card : model.cores;
  if (take.whole) return all;
  // HAMi's rule for AMD: max(1, CUs x percent / 100), rounded down.
  if (interface.cores_percent) {
    return std::max<std::int64_t>(1, take.milli * all / kWholeCard);
  }
  return std::min(all, CeilDiv(take.milli * all, kWholeCard));
}

int TemplateOf(const SliceTake& take, const CardModel& model) {
  const auto& templates = model.rules.templates;
  for (std::size_t i = 0; i < templates.size(); ++i) {
    const bool same = take.whole ? templates[i].compute_milli == kWholeCard
                                 : templates[i].memory_mib == take.memory &&
                                       templates[i].compute_milli == take.milli;
    if (same) return static_cast<int>(i);
  }
  return -1;
}

Values SliceValues(const Interface& interface, const Slice& slice, const AssignmentInput& input) {
  const SliceTake& take = *slice.take;
  const CardModel& model = *slice.model;
  const NodeCard& card = input.cards[static_cast<std::size_t>(take.card)];
  Values v{{"uuid", card.uuid},
           {"index", card.index.empty() ? std::to_string(take.card) : card.index},
           {"type", card.type.empty() ? card.model : card.type},
           {"memory", std::to_string(take.memory)},
           {"memory_units", std::to_string(CeilDiv(take.memory, interface.memory_unit_mib))},
           {"cores", std::to_string(CoresOf(interface, take, model))}};
  v["minor"] = card.minor.empty() ? v["index"] : card.minor;
  if (const int t = TemplateOf(take, model); t >= 0) {
    const auto at = static_cast<std::size_t>(t);
    v["template"] = model.rules.templates[at].name;
    v["slots"] = std::to_string(model.template_slots[at]);
    const auto id = input.profile_ids.find(v["template"]);
    v["profile_id"] = id == input.profile_ids.end() ? std::string() : id->second;
  }
  if (take.mig_profile >= 0) {
    const MigProfile& profile = model.rules.mig[static_cast<std::size_t>(take.mig_profile)];
    v["mig_profile"] = profile.name;
    v["mig_start"] = std::to_string(take.mig_start);
    v["mig_size"] = std::to_string(profile.size);
  }
  return v;
}

// The text of a form; false: it is not written.
bool Write(const AnnotationForm& form, const Context& context, std::string* out) {
  std::string containers;
  bool any_container = false;
  bool any_slice = false;
  for (std::size_t i = 0; i < context.request->slots.size(); ++i) {
    const ContainerSlot& slot = context.request->slots[i];
    if (slot.init && !context.interface->init_slots) continue;
    if (slot.init && slot.container < 0 && !context.init_slots) continue;
    Values own{{"container", slot.name}, {"container_index", std::to_string(i)}};
    std::string slices;
    bool used = false;
    int index = 0;
    if (slot.container >= 0) {
      for (const Slice& slice : context.by_container[static_cast<std::size_t>(slot.container)]) {
        own["slice_index"] = std::to_string(index++);
        if (form.mig_only && slice.take->mig_profile < 0) continue;
        if (form.first_only && any_slice) continue;
        if (used) slices += form.slice_join;
        used = true;
        any_slice = true;
        Values both = context.pod;
        both.insert(own.begin(), own.end());
        const bool whole = slice.take->whole && !form.whole_slice.empty();
        slices += Fill(whole ? form.whole_slice : form.slice, slice.values, both);
      }
    }
    if (form.used_only && !used) continue;
    if (any_container) containers += form.container_join;
    any_container = true;
    own["slices"] = slices;
    containers += Fill(form.container, own, context.pod);
  }
  if (form.mig_only && !any_slice) return false;
  *out = Fill(form.pod, {{"containers", containers}}, context.pod);
  return true;
}

// A count alone means whole cards.
bool CountIsWhole(const Interface& interface) {
  return interface.takes == Takes::kWhole || interface.exclusive_alone || interface.cores.empty() ||
         (interface.cores_per_card > 0 ? interface.default_cores == interface.cores_per_card
                                       : interface.default_cores == 100);
}

// The names and quantities of one container's slices, which are alike.
Amounts LimitsOf(const Interface& interface, const std::vector<Slice>& slices) {
  Amounts limits;
  if (slices.empty()) return limits;
  const Slice& first = slices.front();
  const auto count = static_cast<std::int64_t>(slices.size());
  const std::int64_t times = interface.totals ? count : 1;
  const auto put = [&](const std::string& name, std::int64_t value, const char* suffix = "") {
    if (!name.empty()) limits[name] = std::to_string(value) + suffix;
  };
  if (!interface.mig_prefix.empty() && first.take->mig_profile >= 0) {
    std::string profile = first.values.at("mig_profile");
    std::ranges::replace(profile, '+', '.');
    put(interface.mig_prefix + profile, count);
    return limits;
  }
  if (!interface.slots.empty() && first.values.contains("slots")) {
    limits[interface.slots] = first.values.at("slots");
    return limits;
  }
  put(interface.count, count);
  if (first.take->whole && CountIsWhole(interface)) return limits;
  std::int64_t cores = CoresOf(interface, *first.take, *first.model);
  if (interface.cores_percent) {
    // 0 is no percentage there: compute that was not asked is the least that can be said.
    cores = first.take->whole
                ? 100
                : std::max<std::int64_t>(1, CeilDiv(first.take->milli * 100, kWholeCard));
  }
  // Where nothing said means all of the compute, none must be said.
  if (cores > 0 || interface.default_cores > 0) put(interface.cores, cores * times);
  if (first.take->whole) return limits;
  if (interface.memory_suffix_bytes) {
    put(interface.memory, first.take->memory * times, "Mi");
  } else {
    put(interface.memory, CeilDiv(first.take->memory, interface.memory_unit_mib) * times);
  }
  return limits;
}

// Whether the interface can say all of the slices.
bool CanSay(const Interface& interface, const std::vector<SliceTake>& takes) {
  return std::ranges::all_of(takes, [&](const SliceTake& take) {
    if (!interface.mig_prefix.empty()) return take.mig_profile >= 0;
    if (interface.takes == Takes::kWhole) return take.whole;
    if (interface.takes == Takes::kPart) return !take.whole;
    return take.whole || !interface.memory.empty();
  });
}

Result<Interface> ChooseInterface(const Vendor& vendor, const PodRequest& request,
                                  const AssignmentInput& input,
                                  const std::set<const CardModel*>& models) {
  for (const Interface& interface : vendor.interfaces) {
    const bool wanted = request.interface.empty() ? interface.platform == input.platform
                                                  : interface.name == request.interface;
    if (!wanted || !CanSay(interface, input.slices)) continue;
    if (!std::ranges::all_of(models, [&](const CardModel* m) { return Serves(interface, *m); })) {
      continue;
    }
    if (!HasWord(interface)) return interface;
    for (const CardModel* model : models) {
      if (model->word != (*models.begin())->word) {
        return Fail(input.node, fmt::format("the cards are {} and {}, which plugins keep apart",
                                            (*models.begin())->name, model->name));
      }
    }
    return ForWord(interface, (*models.begin())->word);
  }
  return Fail(
      input.node,
      request.interface.empty()
          ? fmt::format("{} has no interface of the platform {} for these slices", vendor.name,
                        input.platform)
          : fmt::format("{} cannot say these slices of {}", request.interface, vendor.name));
}

}  // namespace

bool IsFormName(std::string_view name) {
  return name == "containers" || std::ranges::find(kFormNames, name) != kFormNames.end();
}

std::vector<std::string> NamesIn(std::string_view text) {
  std::vector<std::string> names;
  ForParts(text, [](std::string_view) {}, [&](std::string_view name) { names.emplace_back(name); });
  return names;
}

Result<Assignment> Assign(const Catalog& catalog, const PodRequest& request,
                          const AssignmentInput& input) {
  const auto fail = [](const Error& error) { return tl::unexpected<Error>(error); };
  if (input.slices.empty()) return Fail(input.node, "the pod has no slices");
  if (Status ok = CheckText("node", input.node); !ok) return fail(ok.error());
  for (const ContainerSlot& slot : request.slots) {
    if (Status ok = CheckText("container", slot.name); !ok) return fail(ok.error());
  }
  const std::size_t containers = std::max<std::size_t>(1, request.spec.containers.size());
  Context context{.request = &request};
  context.by_container.resize(containers);
  std::set<const CardModel*> models;
  const Vendor* vendor = nullptr;
  for (const SliceTake& take : input.slices) {
    if (take.card < 0 || static_cast<std::size_t>(take.card) >= input.cards.size() ||
        take.container < 0 || static_cast<std::size_t>(take.container) >= containers) {
      return Fail(input.node,
                  fmt::format("a slice of card {} for container {}, which are not there", take.card,
                              take.container));
    }
    const NodeCard& card = input.cards[static_cast<std::size_t>(take.card)];
    const CardModel* model = FindModel(catalog, card.model);
    if (model == nullptr) {
      return Fail(input.node, fmt::format("card {}: the catalog has no model \"{}\"", take.card,
                                          card.model.substr(0, 80)));
    }
    if (take.mig_profile >= 0 &&
        static_cast<std::size_t>(take.mig_profile) >= model->rules.mig.size()) {
      return Fail(input.node, fmt::format("card {}: {} has no MIG profile {}", take.card,
                                          model->name, take.mig_profile));
    }
    for (const std::string* text : {&card.uuid, &card.index, &card.minor, &card.type}) {
      // Types may hold spaces ("NVIDIA A30").
      std::string plain = *text;
      if (text == &card.type) std::erase(plain, ' ');
      if (Status ok = CheckText("card of node " + input.node, plain); !ok) return fail(ok.error());
    }
    if (vendor != nullptr && vendor->name != model->vendor) {
      return Fail(input.node,
                  fmt::format("cards of two vendors, {} and {}", vendor->name, model->vendor));
    }
    vendor = FindVendor(catalog, model->vendor);
    models.insert(model);
    context.by_container[static_cast<std::size_t>(take.container)].push_back({&take, model, {}});
  }
  const auto interface = ChooseInterface(*vendor, request, input, models);
  if (!interface) return fail(interface.error());
  context.interface = &*interface;
  const bool before_v2_10 =
      input.version == HamiVersion::kV2_7 || input.version == HamiVersion::kV2_8;
  const bool mig = std::ranges::any_of(input.slices,
                                       [](const SliceTake& take) { return take.mig_profile >= 0; });
  if (before_v2_10 && mig && interface->platform == "hami") {
    return Fail(input.node, "its HAMi is older than v2.10 and cuts MIG cards by its own tables");
  }
  context.init_slots = input.version != HamiVersion::kV2_7;
  for (std::vector<Slice>& slices : context.by_container) {
    std::ranges::stable_sort(slices, {}, [](const Slice& s) { return s.take->card; });
    for (Slice& slice : slices) slice.values = SliceValues(*interface, slice, input);
  }
  context.pod = {{"node", input.node},
                 {"time", std::to_string(input.time_ns / 1'000'000'000)},
                 {"time_ns", std::to_string(input.time_ns)}};
  Assignment out{.interface = interface->name};
  if (request.interface.empty()) {  // what the pod would have had to say
    if (!interface->mode_key.empty()) {
      out.annotations.emplace_back(interface->mode_key, interface->mode_value);
    }
    if (!interface->qos_key.empty()) {
      out.annotations.emplace_back(
          interface->qos_key, request.spec.qos.empty() ? interface->qos_default : request.spec.qos);
    }
  }
  std::string text;
  for (const AnnotationForm& form : interface->annotations) {
    if (Write(form, context, &text)) out.annotations.emplace_back(form.key, text);
  }
  for (const AnnotationForm& form : interface->labels) {
    if (Write(form, context, &text)) out.labels.emplace_back(form.key, text);
  }
  for (const ContainerSlot& slot : request.slots) {
    out.limits.push_back(
        slot.container < 0
            ? Amounts()
            : LimitsOf(*interface, context.by_container[static_cast<std::size_t>(slot.container)]));
  }
  return out;
}

std::vector<SliceTake> UniformSlices(const Catalog& catalog, const RequestSpec& spec, CardSet cards,
                                     const std::vector<CardSpec>& node) {
  const CardAsk ask{.milli = spec.gpu_milli,
                    .memory = static_cast<std::int32_t>(spec.gpu_memory_mib),
                    .percent = spec.gpu_memory_percent,
                    .units = spec.compute_units,
                    .whole = spec.gpu_milli == kWholeCard};
  std::vector<SliceTake> takes;
  std::size_t container = 0;
  int given = 0;
  for (const int index : cards) {
    while (container < spec.containers.size() && given == spec.containers[container].gpus) {
      ++container;
      given = 0;
    }
    ++given;
    const CardSpec& card = node[static_cast<std::size_t>(index)];
    const CardModel* model = FindModel(catalog, card.model);
    const auto physical = static_cast<std::int32_t>(card.memory_mib);
    const auto schedulable =
        static_cast<std::int32_t>(card.memory_mib * card.memory_ratio_percent / 100);
    const CardDemand demand = DemandOn(ask, model == nullptr ? nullptr : &model->rules, physical,
                                       schedulable, card.compute_milli);
    takes.push_back({.card = static_cast<std::int8_t>(index),
                     .container = static_cast<std::int8_t>(container),
                     .milli = demand.milli,
                     .memory = demand.memory,
                     .whole = demand.whole});
  }
  return takes;
}

}  // namespace basalt::devices
